import { z } from 'zod';
import { labelsSchema, nameSchema } from './labels.ts';
import { pageOf } from './page.ts';
import { envSchema, resourcesSchema } from './resources.ts';
import { streamProtocolSchema } from './session.ts';

const argumentsSchema = z.array(z.string().max(16_384)).min(1).max(64);

/** What runs on one platform: a container image, or a command. */
export const platformSpecSchema = z
  .strictObject({
    image: z.string().min(1).max(512).optional(),
    command: argumentsSchema.optional(),
    args: argumentsSchema.optional(),
    env: envSchema.optional(),
  })
  .refine((spec) => spec.image !== undefined || spec.command !== undefined, {
    message: 'needs an image or a command',
  })
  .meta({ id: 'PlatformSpec' });

export type PlatformSpec = z.infer<typeof platformSpecSchema>;

export const templateSpecSchema = z
  .strictObject({
    displayName: z.string().min(1).max(100).optional(),
    description: z.string().max(2000).optional(),
    protocol: streamProtocolSchema.describe('What the first port speaks.'),
    ports: z
      .array(z.strictObject({ name: nameSchema, port: z.int().min(1).max(65_535) }))
      .min(1)
      .max(16)
      .describe(
        'The first is the session’s own. A process gets ports of its machine instead: $PORT, $PORT_<NAME>.',
      ),
    platforms: z
      .record(nameSchema, platformSpecSchema)
      .refine((platforms) => Object.keys(platforms).length > 0, 'names at least one platform'),
    resources: resourcesSchema.optional(),
    agentLabels: labelsSchema.optional().describe('Labels that an agent must have.'),
    onVanished: z
      .enum(['fail', 'restart'])
      .optional()
      .describe('What to do when a session’s machine no longer has it. Default: fail.'),
  })
  .meta({ id: 'TemplateSpec' });

export type TemplateSpec = z.infer<typeof templateSpecSchema>;

export const createTemplateSchema = templateSpecSchema
  .extend({ name: nameSchema })
  .meta({ id: 'CreateTemplate' });

export type CreateTemplate = z.infer<typeof createTemplateSchema>;

export const templateSchema = templateSpecSchema
  .extend({ name: z.string(), createdAt: z.iso.datetime(), updatedAt: z.iso.datetime() })
  .meta({ id: 'Template' });

export type Template = z.infer<typeof templateSchema>;

export const templatePageSchema = pageOf(templateSchema).meta({ id: 'TemplatePage' });
