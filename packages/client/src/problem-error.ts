import { PROBLEM_TYPE_PREFIX, problemSchema, type Problem } from '@streamspace/protocol';

/** An answer that is not 2xx. Switch on `code`. */
export class ProblemError extends Error {
  readonly status: number;
  /** The problem's type without its prefix, for example `no_agent_available`. */
  readonly code: string;
  readonly problem: Problem;
  /** When the server says that a further try is right. */
  readonly retryAfterSeconds: number | undefined;

  constructor(problem: Problem, retryAfterSeconds?: number) {
    super(problem.detail ?? problem.title);
    this.name = 'ProblemError';
    this.status = problem.status;
    this.code = problem.type.startsWith(PROBLEM_TYPE_PREFIX)
      ? problem.type.slice(PROBLEM_TYPE_PREFIX.length)
      : problem.type;
    this.problem = problem;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** Also of what is not a problem, such as a load balancer's own page. */
export function toProblemError(response: Response, body: string): ProblemError {
  const retryAfter = Number(response.headers.get('retry-after') ?? Number.NaN);
  const parsed = problemSchema.safeParse(parseJson(body));
  const problem: Problem = parsed.success
    ? parsed.data
    : { type: 'about:blank', title: response.statusText || 'Error', status: response.status };
  return new ProblemError(problem, Number.isFinite(retryAfter) ? retryAfter : undefined);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
