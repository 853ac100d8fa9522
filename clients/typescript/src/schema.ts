/** Checks an event against the schema before it goes to Redis, which cannot refuse it. The worker has the last word. */
import type { FieldError } from "./errors.js";
import { SCHEMA } from "./event.js";

/** The parts of JSON schema that the schema of the event uses. */
export interface Schema {
  $ref?: string;
  $defs?: Record<string, Schema>;
  type?: string | string[];
  enum?: string[];
  anyOf?: Schema[];
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  items?: Schema;
  maxItems?: number;
}

const NAMES: Record<string, string> = { string: "a string", number: "a number", boolean: "true or false" };

type Problem = [path: string[], message: string];
type Fields = Record<string, unknown>;

/** Return each wrong field of an event. */
export function wrongFields(event: unknown, entry: number): FieldError[] {
  const found = [...problems(SCHEMA, event, [])];
  const missing = found.length === 0 ? wrongChanges(event as Fields) : null;
  return [...found, ...(missing === null ? [] : [missing])].map(([path, message]) => ({
    entry,
    field: path.join("."),
    message,
  }));
}

function wrongChanges({ type, changes }: Fields): Problem | null {
  const hasChanges = Object.values(changes ?? {}).some((value) => value !== undefined);
  if (type === "customer.reconcile") {
    return hasChanges ? [["changes"], "must be left out for customer.reconcile"] : null;
  }
  return hasChanges ? null : [["changes"], "must contain at least one field for customer.updated"];
}

function* problems(schema: Schema, value: unknown, path: string[]): Generator<Problem> {
  if (schema.$ref !== undefined) {
    yield* problems(SCHEMA.$defs?.[schema.$ref.replace("#/$defs/", "")] ?? {}, value, path);
  } else if (schema.anyOf !== undefined) {
    const allowsNull = schema.anyOf.some(({ type }) => type === "null");
    const other = schema.anyOf.find(({ type }) => type !== "null");
    if (!(value === null && allowsNull)) {
      yield* problems(other ?? {}, value, path);
    }
  } else if (schema.type === "object") {
    yield* problemsOfObject(schema, value, path);
  } else if (schema.type === "array") {
    yield* problemsOfArray(schema, value, path);
  } else if (schema.type !== undefined) {
    const message = problemOfScalar(schema, [schema.type].flat(), value);
    if (message !== null) {
      yield [path, message];
    }
  }
}

function* problemsOfArray({ items = {}, maxItems = Infinity }: Schema, value: unknown, path: string[]): Generator<Problem> {
  if (!Array.isArray(value)) {
    yield [path, "must be a JSON array"];
  } else if (value.length > maxItems) {
    yield [path, `has more than ${maxItems} items`];
  } else {
    for (const [index, item] of value.entries()) {
      yield* problems(items, item, [...path, String(index)]);
    }
  }
}

function* problemsOfObject(schema: Schema, value: unknown, path: string[]): Generator<Problem> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    yield [path, "must be a JSON object"];
    return;
  }
  const sent = Object.entries(value).filter(([, item]) => item !== undefined);
  const properties = schema.properties ?? {};
  for (const [name, item] of sent) {
    if (Object.hasOwn(properties, name)) {
      yield* problems(properties[name] ?? {}, item, [...path, name]);
    } else if (schema.additionalProperties === false) {
      yield [[...path, name], "unknown field"];
    } else if (typeof schema.additionalProperties === "object") {
      yield* problems(schema.additionalProperties, item, [...path, name]);
    }
  }
  for (const name of schema.required ?? []) {
    if (!sent.some(([found]) => found === name)) {
      yield [[...path, name], "is missing"];
    }
  }
}

function problemOfScalar(schema: Schema, types: string[], value: unknown): string | null {
  if (!types.includes(typeof value)) {
    return `must be ${types.map((type) => NAMES[type] ?? type).join(" or ")}`;
  }
  return typeof value === "string" ? problemOfText(schema, value) : null;
}

function problemOfText({ enum: allowed, pattern, minLength = 0, maxLength = Infinity }: Schema, text: string): string | null {
  // The schema counts characters, and a JavaScript string has two units for some.
  const { length } = [...text];
  if (allowed !== undefined && !allowed.includes(text)) {
    return `must be ${allowed.join(" or ")}`;
  }
  if (length < minLength) {
    return "is empty";
  }
  if (length > maxLength) {
    return `has more than ${maxLength} characters`;
  }
  return pattern !== undefined && !new RegExp(pattern, "u").test(text) ? `does not match ${pattern}` : null;
}
