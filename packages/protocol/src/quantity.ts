import { z } from 'zod';

const CPU = /^(\d{1,6}(?:\.\d{1,3})?|\d{1,9}m)$/;
const MEMORY = /^(\d{1,15})(Ki|Mi|Gi|Ti|k|M|G|T)?$/;
const MEMORY_UNITS: Readonly<Record<string, number>> = {
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
};

/** CPU in Kubernetes notation: cores (`2`, `0.5`) or thousandths of a core (`500m`). */
export const cpuQuantitySchema = z
  .string()
  .regex(CPU, 'is cores ("2", "0.5") or thousandths of a core ("500m")');

/** Memory in Kubernetes notation: bytes with an optional unit (`512Mi`, `2Gi`, `1G`). */
export const memoryQuantitySchema = z
  .string()
  .regex(MEMORY, 'is bytes with an optional unit: Ki, Mi, Gi, Ti, k, M, G, T ("512Mi")');

/** Thousandths of a core, or `undefined` where the text is no quantity (upstream wrote "64 cores"). */
export function parseCpuMillis(text: string): number | undefined {
  if (!CPU.test(text)) return undefined;
  return text.endsWith('m') ? Number(text.slice(0, -1)) : Math.round(Number(text) * 1000);
}

/** Bytes, or `undefined` where the text is no quantity or above 2^53. */
export function parseMemoryBytes(text: string): number | undefined {
  const match = MEMORY.exec(text);
  if (!match) return undefined;
  const bytes = Number(match[1]) * (MEMORY_UNITS[match[2] ?? ''] ?? 1);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}
