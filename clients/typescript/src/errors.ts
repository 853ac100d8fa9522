/** One wrong field of one event. */
export interface FieldError {
  /** The position of the event in the list that was sent; 0 if one event was sent. */
  entry: number;
  /** The path of the field, such as `changes.email`. */
  field: string;
  message: string;
}

export interface ErrorDetails {
  fields?: FieldError[];
  retryAfterSeconds?: number | undefined;
  cause?: unknown;
}

/**
 * The events were not accepted, or the outcome could not be read.
 *
 * `code` is the server's (`invalid_events`, `unauthorized`, `too_large`, `rate_limited`, `redis_unavailable`, …) or the
 * client's own: `invalid_id`, `timeout`, `unreachable` and `unexpected_answer`. After the last three the events may have been accepted:
 * send them again with the same `event_id`. After `redis_unavailable` they may have been, too. Over Redis, the message
 * says whether events are stored.
 */
export class CustomerSyncError extends Error {
  override readonly name = "CustomerSyncError";
  readonly code: string;
  /** Each wrong field, if `code` is `invalid_events`; otherwise empty. */
  readonly fields: readonly FieldError[];
  /** When to try again, if the server named a time. */
  readonly retryAfterSeconds: number | undefined;

  constructor(code: string, message: string, { fields = [], retryAfterSeconds, cause }: ErrorDetails = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.fields = fields;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** Return the error for events with wrong fields. */
export function invalidEvents(fields: FieldError[]): CustomerSyncError {
  const texts = fields.map(({ entry, field, message }) => `event ${entry}: ${field ? `${field}: ` : ""}${message}`);
  return new CustomerSyncError("invalid_events", texts.join("; "), { fields });
}
