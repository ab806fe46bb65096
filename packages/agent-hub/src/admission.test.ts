import { Admission } from './admission.ts';

describe('Admission', () => {
  let now = 0;
  const create = (perSecond: number): Admission => new Admission(perSecond, () => now);

  beforeEach(() => {
    now = 0;
  });

  it('admits a second’s worth at once and no more', () => {
    const admission = create(3);
    expect([1, 2, 3, 4].map(() => admission.admit() === 0)).toEqual([true, true, true, false]);
  });

  it('tells those who wait different moments, so that they do not come together', () => {
    const admission = create(10);
    for (let i = 0; i < 10; i += 1) admission.admit();
    expect([admission.admit(), admission.admit(), admission.admit()]).toEqual([100, 200, 300]);
  });

  it('admits again as time goes by', () => {
    const admission = create(2);
    admission.admit();
    admission.admit();
    now = 500;
    expect(admission.admit()).toBe(0);
    expect(admission.admit()).toBeGreaterThan(0);
  });

  it('asks nobody to wait longer than ten seconds, however many have given up before', () => {
    const admission = create(1);
    for (let i = 0; i < 1000; i += 1) expect(admission.admit()).toBeLessThanOrEqual(10_000);
    now = 12_000;
    expect(admission.admit()).toBe(0);
  });
});
