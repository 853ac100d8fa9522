import { CustomerSyncError } from "./errors.js";
import type { CustomerUpdate } from "./event.js";

/** The outcome of an event. */
export interface Outcome {
  id: string;
  /** `waiting` until the event is `applied` or `dead` (a dead letter). */
  status: "waiting" | "applied" | "dead";
  customer_id: string;
  /** The id of the entry on the stream. */
  entry_id: string;
  /** Why the event is a dead letter. */
  reason: string | null;
  /** When the event was applied or became a dead letter, in milliseconds since the epoch. */
  at: number | null;
}

export interface OutcomeOptions {
  /** Seconds to wait until the event is no longer waiting. The default is 0: answer at once. */
  waitSeconds?: number;
}

/** Sends events and reads their outcomes. Every method throws `CustomerSyncError`. */
export interface EventSender {
  /**
   * Send an event. Return the id for `outcome`: its `event_id`, or the entry's id if it has none.
   *
   * Only an event with an `event_id` may be sent again safely: the same `event_id` counts once within 24 hours.
   */
  send(event: CustomerUpdate): Promise<string>;
  /**
   * Send at most 1,000 events in order. Return the id of each for `outcome`. All of them are accepted or none, unless an
   * error says that Redis stored some of them.
   */
  sendMany(events: readonly CustomerUpdate[]): Promise<string[]>;
  /**
   * Return the outcome of an event of the last 24 hours, or null if nothing is known of it: it was not sent, or no
   * worker has moved it yet. After `waitSeconds` the status may still be `waiting`. Until then, `Client` reads again if
   * the server says to try again later.
   */
  outcome(id: string, options?: OutcomeOptions): Promise<Outcome | null>;
}

const MOST_EVENTS = 1000;
const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 500;
/** A timer with a longer time ends at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Throw an error if there are more events than one call may send. */
export function checkCount({ length }: readonly CustomerUpdate[]): void {
  if (length > MOST_EVENTS) {
    throw new CustomerSyncError("too_large", `${length} events: send at most ${MOST_EVENTS} at a time`);
  }
}

/**
 * Read the outcome until the event is no longer waiting or the time is over. `read` receives the seconds left. If it
 * returns an error, read again after the error's time to wait. Throw the last error if the time is over.
 */
export async function readUntilDone(
  read: (leftSeconds: number) => Promise<Outcome | null | CustomerSyncError>,
  waitSeconds: number,
): Promise<Outcome | null> {
  if (!(waitSeconds >= 0)) {
    throw new RangeError("waitSeconds must be 0 or more");
  }
  const deadline = Date.now() + waitSeconds * 1000;
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
    const found = await read(Math.max(0, deadline - Date.now()) / 1000);
    const left = deadline - Date.now();
    const isError = found instanceof CustomerSyncError;
    if (isError && left <= 0) {
      throw found;
    }
    if (!isError && (left <= 0 || (found !== null && found.status !== "waiting"))) {
      return found;
    }
    const nextPause = isError ? Math.max(LONGEST_PAUSE_MS, 1000 * (found.retryAfterSeconds ?? 0)) : pause;
    await new Promise((resolve) => setTimeout(resolve, Math.min(nextPause, left, LONGEST_TIMER_MS)));
  }
}
