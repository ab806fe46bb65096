export interface Step {
  readonly title: string;
  readonly target: string;
  readonly actual: string;
  readonly isMet: boolean;
}

/** A step with a limit in seconds. */
export function timed(title: string, seconds: number, limitSeconds: number, note = ''): Step {
  return {
    title,
    target: `< ${limitSeconds} s`,
    actual: `${seconds.toFixed(2)} s${note && `, ${note}`}`,
    isMet: seconds < limitSeconds,
  };
}

/** A step that is so or not. */
export function observed(title: string, target: string, actual: string, isMet: boolean): Step {
  return { title, target, actual, isMet };
}

export function toTable(steps: readonly Step[]): string {
  const rows = [
    ['step', 'target', 'actual', ''],
    ...steps.map(({ title, target, actual, isMet }) => [
      title,
      target,
      actual,
      isMet ? 'ok' : 'MISSED',
    ]),
  ];
  const widths = [0, 1, 2, 3].map((column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}
