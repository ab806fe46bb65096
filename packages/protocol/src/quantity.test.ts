import {
  cpuQuantitySchema,
  memoryQuantitySchema,
  parseCpuMillis,
  parseMemoryBytes,
} from './index.ts';

it.each([
  ['2', 2000],
  ['0.5', 500],
  ['1.255', 1255],
  ['250m', 250],
  ['0', 0],
])('reads %s as %i thousandths of a core', (text, millis) => {
  expect(parseCpuMillis(text)).toBe(millis);
  expect(cpuQuantitySchema.safeParse(text).success).toBe(true);
});

it.each([
  ['512Mi', 536_870_912],
  ['2Gi', 2_147_483_648],
  ['1G', 1e9],
  ['1024', 1024],
])('reads %s as %i bytes', (text, bytes) => {
  expect(parseMemoryBytes(text)).toBe(bytes);
  expect(memoryQuantitySchema.safeParse(text).success).toBe(true);
});

it.each(['64 cores', '', '-1', '1e3', '1.5Gi', 'NaN', '2 Gi', '9999999999999999Ti'])(
  'does not invent a quantity for %j',
  (text) => {
    expect(parseCpuMillis(text)).toBeUndefined();
    expect(parseMemoryBytes(text)).toBeUndefined();
  },
);
