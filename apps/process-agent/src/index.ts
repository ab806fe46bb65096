export { createProcessAgent, type ProcessAgentDeps } from './app.ts';
export { loadConfig, type Config } from './config.ts';
