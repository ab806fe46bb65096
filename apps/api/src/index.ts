export { createApp, type AppOptions } from './app.ts';
export { loadConfig, type Config } from './config.ts';
export type { ReplicaProcess } from './replica-process.ts';
