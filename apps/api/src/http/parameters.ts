import { z } from 'zod';

export const noParameters = z.strictObject({});
export const noQuery = z.strictObject({});
/** Of a POST that needs none: an empty object is allowed, and anything in it is refused. */
export const emptyBody = z.strictObject({});

export const idParameter = z.strictObject({ id: z.string().min(1).max(255) });
export const nameParameter = z.strictObject({ name: z.string().min(1).max(255) });
