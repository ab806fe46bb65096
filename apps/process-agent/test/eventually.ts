/** Waits until `check` neither throws nor returns false; its last error says what was missing. */
export async function eventually(check: () => unknown, withinMs = 8000): Promise<void> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    try {
      if ((await check()) !== false) return;
      if (performance.now() > deadline) throw new Error(`not in time: ${check.toString()}`);
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
    await new Promise((resolve) => {
      setTimeout(resolve, 10);
    });
  }
}
