import express, { type Request, type Response } from 'express';
import { ApiError } from './api-error.ts';

const MAX_BODY_BYTES = 1_048_576;
const JSON_TYPES = ['application/json', 'application/*+json'];

const parseJson = express.json({ limit: MAX_BODY_BYTES, type: JSON_TYPES });

/** The JSON body; `undefined` where there is none. */
export async function readJsonBody(request: Request, response: Response): Promise<unknown> {
  if (!hasBody(request)) return undefined;
  if (typeof request.is(JSON_TYPES) !== 'string')
    throw new ApiError(415, 'unsupported_media_type', 'The body is to be application/json.', {
      headers: { Accept: 'application/json' },
    });
  await new Promise<void>((resolve, reject) => {
    parseJson(request, response, (error?: unknown) => {
      if (error === undefined) resolve();
      else reject(error instanceof Error ? error : new Error('reading a body', { cause: error }));
    });
  });
  return request.body;
}

function hasBody({ headers }: Request): boolean {
  if (headers['transfer-encoding'] !== undefined) return true;
  const length = headers['content-length'];
  return length !== undefined && length !== '0';
}
