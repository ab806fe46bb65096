import type { Endpoint } from '@streamspace/agent';
import type { StreamProtocol } from '@streamspace/protocol';
import { request } from 'node:http';
import { connect } from 'node:net';

const WITHIN_MS = 2000;

/** True when something answers: any HTTP response for `http`, an accepted connection for the others. */
export function portAnswers(protocol: StreamProtocol, endpoint: Endpoint): Promise<boolean> {
  return protocol === 'http' ? answersHttp(endpoint) : acceptsConnection(endpoint);
}

function answersHttp({ host, port }: Endpoint): Promise<boolean> {
  return new Promise((resolve) => {
    const call = request({ host, port, path: '/', agent: false, timeout: WITHIN_MS });
    call.on('response', (response) => {
      response.destroy();
      resolve(true);
    });
    call.on('timeout', () => call.destroy());
    call.on('error', () => resolve(false));
    call.on('close', () => resolve(false));
    call.end();
  });
}

function acceptsConnection({ host, port }: Endpoint): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: WITHIN_MS });
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('timeout', () => socket.destroy());
    socket.on('error', () => resolve(false));
    socket.on('close', () => resolve(false));
  });
}
