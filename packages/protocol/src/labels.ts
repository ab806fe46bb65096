import { z } from 'zod';

/** Kubernetes' own rule for names of labels, agents and templates: valid wherever such a name may end up. */
export const nameSchema = z
  .string()
  .regex(
    /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/,
    'is 1 to 63 letters, digits, "-", "_" or ".", and begins and ends with a letter or digit',
  );

const labelKeySchema = z
  .string()
  .regex(
    /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/,
    'is a label name, optionally with a DNS prefix ("example.com/gpu")',
  );

const labelValueSchema = z
  .string()
  .regex(
    /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/,
    'is at most 63 letters, digits, "-", "_" or "."',
  );

const MAX_LABELS = 64;

export const labelsSchema = z
  .record(labelKeySchema, labelValueSchema)
  .refine((labels) => Object.keys(labels).length <= MAX_LABELS, `has at most ${MAX_LABELS} labels`);

export type Labels = z.infer<typeof labelsSchema>;
