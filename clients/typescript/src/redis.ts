import { CustomerSyncError, invalidEvents } from "./errors.js";
import type { CustomerUpdate } from "./event.js";
import { unfitFields } from "./json.js";
import { wrongFields } from "./schema.js";
import { checkCount, type EventSender, type Outcome, type OutcomeOptions, readUntilDone } from "./sender.js";

const HALF_DAY_MS = 43_200_000;

type Entry = Record<string, string>;

/** The part of node-redis that is used. A client of node-redis 4, 5 or 6 fits. */
export interface RedisClient {
  xAdd(key: string, id: string, message: Entry): Promise<unknown>;
  hGet(key: string, field: string): Promise<unknown>;
  multi(): RedisTransaction;
}

export interface RedisTransaction {
  xAdd(key: string, id: string, message: Entry): unknown;
  exec(): Promise<unknown>;
}

export interface RedisOptions {
  /** The worker's INBOX_STREAM. The default is `customer-updates`. */
  stream?: string;
  /** The worker's KEY_PREFIX. The default is `customer-sync`. */
  prefix?: string;
}

/** Send events over a connected client of node-redis. You close the client. */
export function overRedis(
  redis: RedisClient,
  { stream = "customer-updates", prefix = "customer-sync" }: RedisOptions = {},
): EventSender {
  async function sendMany(events: readonly CustomerUpdate[]): Promise<string[]> {
    checkCount(events);
    const entries = entriesOf(events);
    if (entries.length === 0) {
      return [];
    }
    const ids = await add(entries).catch((cause) => {
      throw addError(cause, entries.length);
    });
    return entries.map((entry, index) => entry["event_id"] ?? String(ids[index]));
  }

  async function add(entries: Entry[]): Promise<unknown[]> {
    const [first] = entries;
    if (first !== undefined && entries.length === 1) {
      return [await redis.xAdd(stream, "*", first)];
    }
    // If a part of the events were stored, sending them again could change their order.
    const transaction = redis.multi();
    for (const entry of entries) {
      transaction.xAdd(stream, "*", entry);
    }
    return (await transaction.exec()) as unknown[];
  }

  async function readOutcome(id: string): Promise<Outcome | null> {
    const notes = await Promise.all(bucketsOf(Date.now()).map((bucket) => noteIn(`${prefix}:events:${bucket}`, id)));
    for (const note of notes) {
      const outcome = parseNote(id, note);
      if (outcome !== null) {
        return outcome;
      }
    }
    return null;
  }

  async function noteIn(key: string, id: string): Promise<unknown> {
    return answerOf(redis.hGet(key, id).catch(nullIfWrongType));
  }

  return {
    sendMany,
    async send(event: CustomerUpdate): Promise<string> {
      const [id] = await sendMany([event]);
      return id as string;
    },
    async outcome(id: string, { waitSeconds = 0 }: OutcomeOptions = {}): Promise<Outcome | null> {
      return readUntilDone(() => readOutcome(id), waitSeconds);
    },
  };
}

/** Return the fields of each event's entry. Throws an error with each wrong field of each event. */
function entriesOf(events: readonly CustomerUpdate[]): Entry[] {
  const wrong = events.flatMap((event, entry) => {
    const unfit = unfitFields(event, entry);
    return unfit.length > 0 ? unfit : wrongFields(event, entry);
  });
  if (wrong.length > 0) {
    throw invalidEvents(wrong);
  }
  return events.map(({ changes, ...others }) => {
    const texts = Object.entries(others).filter(([, text]) => text !== undefined && text !== null);
    const entry = Object.fromEntries(texts) as Entry;
    return changes ? { ...entry, changes: JSON.stringify(changes) } : entry;
  });
}

async function answerOf<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (cause) {
    throw new CustomerSyncError("redis_unavailable", "Redis did not carry out the command: see the cause", { cause });
  }
}

/** Return the error for events that Redis did not add. It says whether events may have been stored. */
function addError(cause: unknown, count: number): CustomerSyncError {
  // The MultiErrorReply of node-redis: EXEC executed the commands, and some of them failed.
  const { errorIndexes } = Object(cause) as { errorIndexes?: unknown };
  const stored = Array.isArray(errorIndexes) ? count - errorIndexes.length : 0;
  let what = "Redis did not confirm the events, so they may have been stored";
  if (stored > 0) {
    what = `Redis stored only ${stored} of ${count} events`;
  } else if (Array.isArray(errorIndexes) || isRefusal(cause)) {
    what = "Redis refused the events, and nothing was stored";
  }
  return new CustomerSyncError("redis_unavailable", `${what}: see the cause`, { cause });
}

/** Return whether an error is an answer of Redis after which nothing is stored. */
function isRefusal(error: unknown): boolean {
  // An answer of Redis begins with a code, such as OOM. If it refused MULTI itself, it executed each command by itself.
  return error instanceof Error && /^[A-Z]+ /.test(error.message) && !/multi/i.test(error.message);
}

/** A key of the wrong type holds no outcome. Other errors are thrown again. */
function nullIfWrongType(error: unknown): null {
  if (error instanceof Error && error.message.includes("WRONGTYPE")) {
    return null;
  }
  throw error;
}

/** Return the buckets of the last 24 hours, newest first, and one before them in case that this clock is behind. */
function bucketsOf(nowMs: number): number[] {
  const newest = Math.floor(nowMs / HALF_DAY_MS) + 1;
  return [newest, newest - 1, newest - 2, newest - 3];
}

function parseNote(id: string, note: unknown): Outcome | null {
  try {
    const { status, customer, entry, reason = null, at = null } = JSON.parse(String(note));
    return status === undefined ? null : { id, status, customer_id: customer, entry_id: entry, reason, at };
  } catch {
    return null;
  }
}
