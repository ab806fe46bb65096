/** One line in the run's output: what was measured of a fault. */
export function showFigures(
  fault: string,
  figures: Readonly<Record<string, number | string>>,
): void {
  const text = Object.entries(figures)
    .map(([name, value]) => `${name} ${typeof value === 'number' ? Math.round(value) : value}`)
    .join(', ');
  process.stdout.write(`${fault}: ${text}\n`);
}
