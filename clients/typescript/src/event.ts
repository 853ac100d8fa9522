// Generated from docs/customer-update.schema.json by `make schema`. Do not edit it.
import type { Schema } from "./schema.js";

/** A value of JSON. A field that is undefined is left out. */
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue | undefined };

/**
 * The requested changes. A field that is left out stays as it is.
 *
 * The names and their meaning are those of Autumn's `POST /v1/customers.update`.
 */
export interface Changes {
  /** null clears it. */
  name?: string | null | undefined;
  /** null clears it; "" is refused. */
  email?: string | null | undefined;
  /** null clears it. */
  fingerprint?: string | null | undefined;
  /** Merged by top-level key; null deletes the key. Send whole numbers beyond 9007199254740991 as strings, at any depth, because Autumn would round them. */
  metadata?: { readonly [name: string]: JsonValue | undefined } | undefined;
  /** The id of a Stripe customer; null unlinks. */
  stripe_id?: string | null | undefined;
  /** false turns receipts off; null is refused. */
  send_email_receipts?: boolean | undefined;
}

/** An event: a customer changed (`customer.updated`), or both sides should be compared. */
export interface CustomerUpdate {
  customer_id: string;
  type?: "customer.updated" | "customer.reconcile" | undefined;
  changes?: Changes | null | undefined;
  event_id?: string | null | undefined;
  traceparent?: string | null | undefined;
}

export const SCHEMA: Schema = {
  "$defs": {
    "Changes": {
      "additionalProperties": false,
      "properties": {
        "name": {
          "anyOf": [
            {
              "type": "string"
            },
            {
              "type": "null"
            }
          ]
        },
        "email": {
          "anyOf": [
            {
              "type": "string"
            },
            {
              "type": "null"
            }
          ]
        },
        "fingerprint": {
          "anyOf": [
            {
              "type": "string"
            },
            {
              "type": "null"
            }
          ]
        },
        "metadata": {
          "additionalProperties": {
            "$ref": "#/$defs/JsonValue"
          },
          "type": "object"
        },
        "stripe_id": {
          "anyOf": [
            {
              "pattern": "^([A-Za-z0-9][A-Za-z0-9_.@:+-]{0,254})?$",
              "type": "string"
            },
            {
              "type": "null"
            }
          ]
        },
        "send_email_receipts": {
          "type": "boolean"
        }
      },
      "type": "object"
    },
    "JsonValue": {}
  },
  "additionalProperties": false,
  "properties": {
    "customer_id": {
      "maxLength": 500,
      "minLength": 1,
      "pattern": "^[a-zA-Z0-9_:-]+$",
      "type": "string"
    },
    "type": {
      "enum": [
        "customer.updated",
        "customer.reconcile"
      ],
      "type": "string"
    },
    "changes": {
      "anyOf": [
        {
          "$ref": "#/$defs/Changes"
        },
        {
          "type": "null"
        }
      ]
    },
    "event_id": {
      "anyOf": [
        {
          "maxLength": 200,
          "minLength": 1,
          "type": "string"
        },
        {
          "type": "null"
        }
      ]
    },
    "traceparent": {
      "anyOf": [
        {
          "type": "string"
        },
        {
          "type": "null"
        }
      ]
    }
  },
  "required": [
    "customer_id"
  ],
  "type": "object"
};
