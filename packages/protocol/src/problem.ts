import { z } from 'zod';

/** RFC 9457. `type` is `urn:streamspace:problem:<code>` and stable: clients switch on it. */
export const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string().optional(),
    instance: z.string().optional(),
    errors: z
      .array(z.object({ pointer: z.string(), detail: z.string() }))
      .optional()
      .describe('One entry a wrong field, with its JSON pointer.'),
    agents: z
      .array(z.object({ agentId: z.string(), code: z.string(), reason: z.string() }))
      .optional()
      .describe('Why each agent was passed over.'),
  })
  .meta({ id: 'Problem' });

export type Problem = z.infer<typeof problemSchema>;

export const PROBLEM_TYPE_PREFIX = 'urn:streamspace:problem:';
