/** What JavaScript would change without a word when it writes JSON: such values are refused before they are sent. */
import type { FieldError } from "./errors.js";

const DEEPEST = 200;
// With the flag u, a surrogate matches only if it is not part of a pair.
const UNFIT_TEXT = /[\0\uD800-\uDFFF]/u;

/** Return each part of an event that JSON cannot express or Autumn cannot store. */
export function unfitFields(event: unknown, entry: number): FieldError[] {
  return [...unfit(event, [], [])].map(([path, message]) => ({ entry, field: path.join("."), message }));
}

function* unfit(value: unknown, path: string[], around: unknown[]): Generator<[string[], string]> {
  if (path.length > DEEPEST) {
    yield [path.slice(0, 3), "is nested too deeply"];
  } else if (around.includes(value)) {
    yield [path, "is an object or a list that contains itself"];
  } else if (Array.isArray(value)) {
    // Array.from also visits the holes of a sparse array.
    for (const [index, item] of Array.from(value).entries()) {
      yield* unfit(item, [...path, String(index)], [...around, value]);
    }
  } else if (isPlainObject(value)) {
    for (const [key, item] of Object.entries(value)) {
      if (UNFIT_TEXT.test(key)) {
        yield [[...path, key], "the name contains a NUL byte or half a surrogate pair"];
      }
      // A field that is undefined is left out, as in JSON.stringify.
      if (item !== undefined) {
        yield* unfit(item, [...path, key], [...around, value]);
      }
    }
  } else {
    const message = problemOfScalar(value);
    if (message !== null) {
      yield [path, message];
    }
  }
}

function isPlainObject(value: unknown): value is object {
  // The prototype is not compared, because an object of another realm has another one.
  return Object.prototype.toString.call(value) === "[object Object]" && !("toJSON" in (value as object));
}

function problemOfScalar(value: unknown): string | null {
  switch (typeof value) {
    case "string":
      return UNFIT_TEXT.test(value) ? "contains a NUL byte or half a surrogate pair" : null;
    case "number":
      if (!Number.isFinite(value)) {
        return `is ${value}, which JSON cannot express`;
      }
      return Number.isInteger(value) && !Number.isSafeInteger(value)
        ? "Autumn cannot store this number exactly: send it as a string"
        : null;
    case "boolean":
      return null;
    case "bigint":
      return "is a BigInt: send it as a string";
    case "object":
      return value === null ? null : "is not a plain object: send a string, a number, a list or a plain object";
    default:
      return `is ${typeof value === "undefined" ? "undefined" : `a ${typeof value}`}, which JSON cannot express`;
  }
}
