import type { DispatcherCounters } from '@streamspace/commands';
import type { RequestHandler, Response } from 'express';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { RequestFacts } from './http/router.ts';

/** Everything that this process measures. Labels are few: routes as they are written, never ids. */
export class Metrics {
  readonly registry = new Registry();

  readonly #requests = new Histogram({
    name: 'http_server_request_duration_seconds',
    help: 'Time from a request to the end of its answer; event streams count when they end.',
    labelNames: ['route', 'method', 'status'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60],
    registers: [this.registry],
  });

  readonly #lostEvents = new Counter({
    name: 'streamspace_events_lost_total',
    help: 'Live events that could not be published; readers were told to load afresh.',
    registers: [this.registry],
  });

  readonly #slowClients = new Counter({
    name: 'streamspace_event_clients_dropped_total',
    help: 'Event streams closed because their client did not read.',
    registers: [this.registry],
  });

  readonly #refusedHellos = new Counter({
    name: 'streamspace_agent_refusals_total',
    help: 'Agents that were not let in.',
    labelNames: ['code'],
    registers: [this.registry],
  });

  readonly #failedPublishes = new Counter({
    name: 'streamspace_redis_publish_failures_total',
    help: 'Messages to other replicas that Redis did not take; the sweep makes up for them.',
    registers: [this.registry],
  });

  readonly #failedMessages = new Counter({
    name: 'streamspace_agent_messages_failed_total',
    help: 'Messages of agents that could not be stored; they come again.',
    labelNames: ['event'],
    registers: [this.registry],
  });

  readonly #sent = new Counter({
    name: 'streamspace_commands_sent_total',
    help: 'Commands sent to agents, the first time and again.',
    labelNames: ['kind'],
    registers: [this.registry],
  });

  readonly #acknowledged = new Histogram({
    name: 'streamspace_command_ack_duration_seconds',
    help: 'From the claim of commands to the agent’s acknowledgement.',
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 10],
    registers: [this.registry],
  });

  readonly #ended = new Counter({
    name: 'streamspace_commands_ended_total',
    help: 'Commands whose ending was recorded by this replica.',
    labelNames: ['action', 'status'],
    registers: [this.registry],
  });

  readonly #lastSweep = new Gauge({
    name: 'streamspace_global_sweep_timestamp_seconds',
    help: 'When this replica last did the global sweep; the newest of all replicas is its age.',
    registers: [this.registry],
  });

  readonly dispatch: DispatcherCounters = {
    sent: (commands) => this.#sent.inc({ kind: 'first' }, commands),
    resent: (commands) => this.#sent.inc({ kind: 'again' }, commands),
    acknowledged: (milliseconds) => this.#acknowledged.observe(milliseconds / 1000),
    ended: (action, status) => this.#ended.inc({ action, status }),
  };

  constructor() {
    collectDefaultMetrics({ register: this.registry });
  }

  /** Reads `read` when it is asked for, so nothing has to be kept in step. */
  gauge(name: string, help: string, read: () => number): void {
    this.registry.registerMetric(
      new Gauge({
        name,
        help,
        registers: [],
        collect() {
          this.set(read());
        },
      }),
    );
  }

  readonly measureRequest: RequestHandler = (
    request,
    response: Response<unknown, RequestFacts>,
    next,
  ) => {
    const end = this.#requests.startTimer();
    response.once('close', () => {
      end({
        route: response.locals.route ?? 'none',
        method: KNOWN_METHODS.has(request.method) ? request.method : 'other',
        status: String(response.statusCode),
      });
    });
    next();
  };

  eventsLost(count: number): void {
    this.#lostEvents.inc(count);
  }

  slowClientDropped(): void {
    this.#slowClients.inc();
  }

  swept(): void {
    this.#lastSweep.setToCurrentTime();
  }

  refused(code: string): void {
    this.#refusedHellos.inc({ code });
  }

  publishFailed(): void {
    this.#failedPublishes.inc();
  }

  failedMessage(event: string): void {
    this.#failedMessages.inc({ event });
  }
}

const KNOWN_METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']);
