import { Command, InvalidArgumentError, Option } from 'commander';
import { parseDuration } from './parse-duration.ts';
import { roles, type Role } from './principal.ts';
import type { TokenStore } from './token-store.ts';

export interface TokenCommandsOptions {
  /** Connected only once a command runs. */
  readonly tokens: () => TokenStore;
  readonly print: (line: string) => void;
}

interface CreateOptions {
  readonly role: Role;
  readonly user?: string;
  readonly expiresIn?: number;
  readonly description?: string;
}

/** `token create | list | revoke`. */
export function tokenCommands({ tokens, print }: TokenCommandsOptions): Command {
  const program = new Command('token').description('Access tokens of the HTTP API');
  program
    .command('create')
    .description('makes a token and shows it, once')
    .addOption(new Option('--role <role>').choices(roles).makeOptionMandatory())
    .option('--user <name>', 'whose it is, made where there is none; the role’s name without it')
    .option('--expires-in <duration>', 'for example 12h or 30d; never without it', toDuration)
    .option('--description <text>')
    .action(async ({ role, user = role, expiresIn, description }: CreateOptions) => {
      const store = tokens();
      const { token, tokenId } = await store.create({
        userId: await store.ensureUser(user, role),
        role,
        description: description ?? null,
        expiresInMs: expiresIn,
      });
      print(`${tokenId} for ${user} (${role}); it is not shown again:`);
      print(token);
    });
  program
    .command('list')
    .description('shows what there is, never the tokens themselves')
    .action(async () => {
      for (const token of await tokens().list())
        print(
          [
            token.tokenId,
            token.userId,
            token.role,
            `created ${token.createdAt.toISOString()}`,
            token.expiresAt ? `expires ${token.expiresAt.toISOString()}` : 'never expires',
            token.revokedAt ? `revoked ${token.revokedAt.toISOString()}` : '',
            token.description ?? '',
          ]
            .filter(Boolean)
            .join('  '),
        );
    });
  program
    .command('revoke <tokenId>')
    .description('ends a token; replicas notice within 5 seconds')
    .action(async (tokenId: string) => {
      if (!(await tokens().revoke(tokenId)))
        throw new Error(`there is no token '${tokenId}' that is not revoked already`);
      print(`${tokenId} is revoked`);
    });
  return program;
}

function toDuration(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw new InvalidArgumentError('Give a number and s, m, h or d: 30d.');
  return ms;
}
