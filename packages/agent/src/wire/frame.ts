import {
  agentRequestSchema,
  cancelSchema,
  inventoryRequestSchema,
  moveSchema,
  orphansSchema,
  resumeSchema,
} from '@streamspace/protocol';
import { z } from 'zod';

/** Commands are read one by one: a bad one must not take the others with it. */
const commandsSchema = z.object({ epoch: z.int().min(0), commands: z.array(z.unknown()) });

const frameSchemas = {
  commands: commandsSchema.transform((message) => ({ ...message, event: 'commands' as const })),
  resume: resumeSchema.transform((message) => ({ ...message, event: 'resume' as const })),
  cancel: cancelSchema.transform((message) => ({ ...message, event: 'cancel' as const })),
  inventory: inventoryRequestSchema.transform((message) => ({
    ...message,
    event: 'inventory' as const,
  })),
  orphans: orphansSchema.transform((message) => ({ ...message, event: 'orphans' as const })),
  request: agentRequestSchema.transform((message) => ({ ...message, event: 'request' as const })),
  move: moveSchema.transform((message) => ({ ...message, event: 'move' as const })),
};

export type Frame = z.infer<(typeof frameSchemas)[keyof typeof frameSchemas]>;

export type FrameReading =
  | { readonly kind: 'frame'; readonly frame: Frame }
  /** A newer control plane's: ignored. */
  | { readonly kind: 'unknown' }
  | { readonly kind: 'unreadable'; readonly problem: string };

export function readFrame(event: string, message: unknown): FrameReading {
  if (!isKnown(event)) return { kind: 'unknown' };
  const frame = frameSchemas[event].safeParse(message);
  if (frame.success) return { kind: 'frame', frame: frame.data };
  return { kind: 'unreadable', problem: z.prettifyError(frame.error) };
}

function isKnown(event: string): event is keyof typeof frameSchemas {
  return Object.hasOwn(frameSchemas, event);
}
