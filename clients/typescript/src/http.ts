import { CustomerSyncError, invalidEvents, type FieldError } from "./errors.js";
import type { CustomerUpdate } from "./event.js";
import { unfitFields } from "./json.js";
import { checkCount, type EventSender, type Outcome, type OutcomeOptions, readUntilDone } from "./sender.js";

/** The longest time that the server waits for an outcome. */
const LONGEST_WAIT_SECONDS = 30;
const MOST_BYTES = 1_048_576;
/** The statuses 429 and 503 say to try again later. */
const TRY_LATER: readonly number[] = [429, 503];

export interface ClientOptions {
  /** The address of the worker, such as `https://sync.example.com`. */
  url: string | URL;
  /** A token of INTAKE_TOKENS, without its name. */
  token: string;
  /** Seconds until a request is given up. The default is 10. Waiting for an outcome is added to it. */
  timeoutSeconds?: number;
}

interface Answer {
  status: number;
  body: unknown;
  /** The error in the answer, or null if the status is one of success. */
  error: CustomerSyncError | null;
}

/** Sends events to the worker over HTTP. It uses only `fetch` and other web APIs. */
export class Client implements EventSender {
  readonly #address: string;
  readonly #token: string;
  readonly #timeoutSeconds: number;

  constructor({ url, token, timeoutSeconds = 10 }: ClientOptions) {
    const parsed = new URL(url);
    if (!["http:", "https:"].includes(parsed.protocol) || parsed.username || parsed.password) {
      throw new TypeError("url must begin with https:// or http://, without a user or a password");
    }
    // fetch would repeat a token with other characters in its error.
    if (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token)) {
      throw new TypeError("token must be a text of visible ASCII characters");
    }
    if (!(timeoutSeconds > 0 && timeoutSeconds <= 3600)) {
      throw new RangeError("timeoutSeconds must be more than 0 and at most 3600");
    }
    this.#address = `${parsed.origin}${parsed.pathname.replace(/\/+$/, "")}/v1/events`;
    this.#token = token;
    this.#timeoutSeconds = timeoutSeconds;
  }

  async send(event: CustomerUpdate): Promise<string> {
    const [id] = await this.#post(event, [event]);
    return id as string;
  }

  async sendMany(events: readonly CustomerUpdate[]): Promise<string[]> {
    checkCount(events);
    return events.length > 0 ? this.#post(events, events) : [];
  }

  async outcome(id: string, { waitSeconds = 0 }: OutcomeOptions = {}): Promise<Outcome | null> {
    return readUntilDone((left) => this.#readOutcome(id, left), waitSeconds);
  }

  async #post(body: unknown, events: readonly CustomerUpdate[]): Promise<string[]> {
    const unfit = events.flatMap(unfitFields);
    if (unfit.length > 0) {
      throw invalidEvents(unfit);
    }
    const init = { method: "POST", body: textOf(body) };
    const answer = await this.#request(this.#address, init, this.#timeoutSeconds);
    if (answer.error !== null) {
      throw answer.error;
    }
    const ids = answer.status === 202 ? get(answer.body, "ids") : undefined;
    if (!Array.isArray(ids) || ids.length !== events.length || !ids.every((id) => typeof id === "string")) {
      throw unexpected(answer.status);
    }
    return ids;
  }

  /** Return the outcome, or the error if the server says to try again later. */
  async #readOutcome(id: string, waitSeconds: number): Promise<Outcome | null | CustomerSyncError> {
    const wait = Math.min(Math.floor(waitSeconds), LONGEST_WAIT_SECONDS);
    const url = `${this.#address}/${pathPart(id)}?wait=${wait}`;
    const { status, body, error } = await this.#request(url, {}, this.#timeoutSeconds + wait);
    if (error?.code === "unknown_event") {
      return null;
    }
    if (error !== null) {
      if (TRY_LATER.includes(status)) {
        return error;
      }
      throw error;
    }
    if (status !== 200 || typeof get(body, "status") !== "string") {
      throw unexpected(status);
    }
    return body as Outcome;
  }

  async #request(url: string, init: RequestInit, timeoutSeconds: number): Promise<Answer> {
    let response: Response, text: string;
    try {
      response = await fetch(url, {
        ...init,
        headers: { Authorization: `Bearer ${this.#token}`, "Content-Type": "application/json" },
        // A redirected POST would become a GET without the token.
        redirect: "manual",
        signal: AbortSignal.timeout(Math.ceil(timeoutSeconds * 1000)),
      });
      text = await response.text();
    } catch (cause) {
      throw get(cause, "name") === "TimeoutError"
        ? new CustomerSyncError("timeout", `no answer within ${timeoutSeconds} seconds`, { cause })
        : new CustomerSyncError("unreachable", "the server cannot be reached, or it closed the connection", { cause });
    }
    const body = parsed(text);
    return { status: response.status, body, error: response.ok ? null : refusal(response, body) };
  }
}

/** Return the error in an answer of the server. A proxy's answer has no code of ours. */
function refusal(response: Response, body: unknown): CustomerSyncError {
  const code = get(body, "error");
  const retryAfter = response.headers.get("Retry-After") ?? "";
  const retryAfterSeconds = /^\d{1,9}$/.test(retryAfter) ? Number(retryAfter) : undefined;
  if (typeof code !== "string") {
    return unexpected(response.status, retryAfterSeconds);
  }
  const fields = get(body, "fields");
  return new CustomerSyncError(code, String(get(body, "message") ?? code), {
    fields: Array.isArray(fields) ? (fields as FieldError[]) : [],
    retryAfterSeconds,
  });
}

function unexpected(status: number, retryAfterSeconds?: number): CustomerSyncError {
  const message = `the answer is not one of the worker's (status ${status}): check the url`;
  return new CustomerSyncError("unexpected_answer", message, { retryAfterSeconds });
}

/** Return the body of a request. A larger one would be refused, and some runtimes only see a broken connection. */
function textOf(body: unknown): string {
  const text = JSON.stringify(body);
  const bytes = new TextEncoder().encode(text).length;
  if (bytes > MOST_BYTES) {
    throw new CustomerSyncError("too_large", `${bytes} bytes: send at most ${MOST_BYTES} at a time`);
  }
  return text;
}

/** Return the id as one part of a path. */
function pathPart(id: string): string {
  // A URL cannot express the parts "." and "..", not even encoded. encodeURIComponent throws for half a surrogate pair.
  if (typeof id !== "string" || ["", ".", ".."].includes(id) || /[\uD800-\uDFFF]/u.test(id)) {
    throw new CustomerSyncError("invalid_id", "this id cannot be a part of a URL");
  }
  return encodeURIComponent(id);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function get(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
