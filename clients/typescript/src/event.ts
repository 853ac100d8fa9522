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

/** A billing address. It replaces the whole address in Stripe. */
export interface Address {
  line1?: string | null | undefined;
  line2?: string | null | undefined;
  city?: string | null | undefined;
  state?: string | null | undefined;
  postal_code?: string | null | undefined;
  country?: string | null | undefined;
}

/** The share of one entity in an allocated balance. An amount of 0 releases it. */
export interface Allocation {
  entity_id: string;
  amount: number;
}

/** A purchase that Autumn makes when a balance falls below the threshold. */
export interface AutoTopup {
  feature_id: string;
  threshold: number;
  quantity: number;
  enabled?: boolean | undefined;
  purchase_limit?: PurchaseLimit | undefined;
  invoice_mode?: boolean | undefined;
}

/** The shares of all entities in the customer's credits of one feature. */
export interface BalanceAllocation {
  feature_id: string;
  interval: "one_off" | "minute" | "hour" | "day" | "week" | "month" | "quarter" | "semi_annual" | "year";
  allocations: ReadonlyArray<Allocation>;
}

/** Limits and alerts. Each list that is named replaces the customer's own list, and the others stay. */
export interface BillingControls {
  balance_allocations?: ReadonlyArray<BalanceAllocation> | undefined;
  auto_topups?: ReadonlyArray<AutoTopup> | undefined;
  spend_limits?: ReadonlyArray<SpendLimit> | undefined;
  usage_limits?: ReadonlyArray<UsageLimit> | undefined;
  usage_alerts?: ReadonlyArray<UsageAlert> | undefined;
  overage_allowed?: ReadonlyArray<OverageAllowed> | undefined;
}

/** Details that Autumn stores in the linked Stripe customer. */
export interface BillingDetails {
  /** null clears it. */
  address?: Address | null | undefined;
  tax_ids?: TaxIds | undefined;
  tax_exempt?: "none" | "exempt" | "reverse" | undefined;
  invoice_settings?: InvoiceSettings | undefined;
}

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
  /** null returns to the organisation's currency. */
  currency?: string | null | undefined;
  config?: Config | undefined;
  billing_controls?: BillingControls | undefined;
  billing_details?: BillingDetails | undefined;
}

/** Switches of the customer. Autumn merges them: a switch that is left out stays as it is. */
export interface Config {
  disable_pooled_balance?: boolean | undefined;
  disable_overage_billing?: boolean | undefined;
}

/** A field that is shown on each invoice, such as the number of a purchase order. */
export interface CustomField {
  name: string;
  value: string;
}

/** The properties that usage must have to count. */
export interface Filter {
  properties: { readonly [name: string]: string | number | boolean | undefined };
}

/** The custom fields of invoices. They replace the existing list; null clears it. */
export interface InvoiceSettings {
  custom_fields?: ReadonlyArray<CustomField> | null | undefined;
}

/** Whether the usage of one feature may exceed its balance. */
export interface OverageAllowed {
  feature_id: string;
  enabled?: boolean | undefined;
}

/** The most top-ups in an interval. `count` sets how many of them are used up. */
export interface PurchaseLimit {
  interval: "hour" | "day" | "week" | "month";
  limit: number;
  interval_count?: number | undefined;
  count?: number | undefined;
}

/** A limit of the overage. */
export interface SpendLimit {
  feature_id?: string | undefined;
  enabled?: boolean | undefined;
  limit_type?: "absolute" | "usage_percentage" | undefined;
  overage_limit?: number | undefined;
  skip_overage_billing?: boolean | undefined;
}

/** A tax id: its type in Stripe, such as `eu_vat`, and its value. */
export interface TaxId {
  type: string;
  value: string;
}

/** Tax ids to add and to remove. The customer keeps the others. */
export interface TaxIds {
  add?: ReadonlyArray<TaxId> | undefined;
  remove?: ReadonlyArray<TaxId> | undefined;
}

/** A threshold of the usage or of the balance. Autumn sends a webhook when it is crossed. */
export interface UsageAlert {
  threshold: number;
  threshold_type: "usage" | "usage_percentage" | "remaining" | "remaining_percentage";
  feature_id?: string | undefined;
  enabled?: boolean | undefined;
  basis?: "balance" | "included" | "recurring" | "usage_limit" | undefined;
  filter?: Filter | undefined;
  name?: string | undefined;
}

/** A limit of the usage of one feature. With `feature_id` and `usage` alone, it sets the counter of a limit. */
export interface UsageLimit {
  feature_id: string;
  limit?: number | undefined;
  interval?: "day" | "week" | "month" | "year" | undefined;
  enabled?: boolean | undefined;
  anchor?: "billing_cycle" | "utc" | undefined;
  filter?: Filter | undefined;
  usage?: number | undefined;
  /** As Autumn returns it; it changes nothing. */
  source?: "customer" | "plan" | undefined;
}

/** An event: a customer changed (`customer.updated`), or both sides should be compared. */
export interface CustomerUpdate {
  customer_id: string;
  type?: "customer.updated" | "customer.reconcile" | undefined;
  changes?: Changes | null | undefined;
  event_id?: string | null | undefined;
  traceparent?: string | null | undefined;
  source?: string | null | undefined;
}

export const SCHEMA: Schema = {
  "$defs": {
    "Address": {
      "additionalProperties": false,
      "properties": {
        "line1": {
          "anyOf": [
            {
              "type": "string"
            },
            {
              "type": "null"
            }
          ]
        },
        "line2": {
          "anyOf": [
            {
              "type": "string"
            },
            {
              "type": "null"
            }
          ]
        },
        "city": {
          "anyOf": [
            {
              "type": "string"
            },
            {
              "type": "null"
            }
          ]
        },
        "state": {
          "anyOf": [
            {
              "type": "string"
            },
            {
              "type": "null"
            }
          ]
        },
        "postal_code": {
          "anyOf": [
            {
              "type": "string"
            },
            {
              "type": "null"
            }
          ]
        },
        "country": {
          "anyOf": [
            {
              "pattern": "^[A-Za-z]{2}$",
              "type": "string"
            },
            {
              "type": "null"
            }
          ]
        }
      },
      "type": "object"
    },
    "Allocation": {
      "additionalProperties": false,
      "properties": {
        "entity_id": {
          "minLength": 1,
          "type": "string"
        },
        "amount": {
          "type": "number"
        }
      },
      "required": [
        "entity_id",
        "amount"
      ],
      "type": "object"
    },
    "AutoTopup": {
      "additionalProperties": false,
      "properties": {
        "feature_id": {
          "minLength": 1,
          "type": "string"
        },
        "threshold": {
          "type": "number"
        },
        "quantity": {
          "type": "number"
        },
        "enabled": {
          "type": "boolean"
        },
        "purchase_limit": {
          "$ref": "#/$defs/PurchaseLimit"
        },
        "invoice_mode": {
          "type": "boolean"
        }
      },
      "required": [
        "feature_id",
        "threshold",
        "quantity"
      ],
      "type": "object"
    },
    "BalanceAllocation": {
      "additionalProperties": false,
      "properties": {
        "feature_id": {
          "minLength": 1,
          "type": "string"
        },
        "interval": {
          "enum": [
            "one_off",
            "minute",
            "hour",
            "day",
            "week",
            "month",
            "quarter",
            "semi_annual",
            "year"
          ],
          "type": "string"
        },
        "allocations": {
          "items": {
            "$ref": "#/$defs/Allocation"
          },
          "type": "array"
        }
      },
      "required": [
        "feature_id",
        "interval",
        "allocations"
      ],
      "type": "object"
    },
    "BillingControls": {
      "additionalProperties": false,
      "properties": {
        "balance_allocations": {
          "items": {
            "$ref": "#/$defs/BalanceAllocation"
          },
          "type": "array"
        },
        "auto_topups": {
          "items": {
            "$ref": "#/$defs/AutoTopup"
          },
          "type": "array"
        },
        "spend_limits": {
          "items": {
            "$ref": "#/$defs/SpendLimit"
          },
          "type": "array"
        },
        "usage_limits": {
          "items": {
            "$ref": "#/$defs/UsageLimit"
          },
          "type": "array"
        },
        "usage_alerts": {
          "items": {
            "$ref": "#/$defs/UsageAlert"
          },
          "type": "array"
        },
        "overage_allowed": {
          "items": {
            "$ref": "#/$defs/OverageAllowed"
          },
          "type": "array"
        }
      },
      "type": "object"
    },
    "BillingDetails": {
      "additionalProperties": false,
      "properties": {
        "address": {
          "anyOf": [
            {
              "$ref": "#/$defs/Address"
            },
            {
              "type": "null"
            }
          ]
        },
        "tax_ids": {
          "$ref": "#/$defs/TaxIds"
        },
        "tax_exempt": {
          "enum": [
            "none",
            "exempt",
            "reverse"
          ],
          "type": "string"
        },
        "invoice_settings": {
          "$ref": "#/$defs/InvoiceSettings"
        }
      },
      "type": "object"
    },
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
        },
        "currency": {
          "anyOf": [
            {
              "pattern": "^[A-Za-z]{3}$",
              "type": "string"
            },
            {
              "type": "null"
            }
          ]
        },
        "config": {
          "$ref": "#/$defs/Config"
        },
        "billing_controls": {
          "$ref": "#/$defs/BillingControls"
        },
        "billing_details": {
          "$ref": "#/$defs/BillingDetails"
        }
      },
      "type": "object"
    },
    "Config": {
      "additionalProperties": false,
      "properties": {
        "disable_pooled_balance": {
          "type": "boolean"
        },
        "disable_overage_billing": {
          "type": "boolean"
        }
      },
      "type": "object"
    },
    "CustomField": {
      "additionalProperties": false,
      "properties": {
        "name": {
          "maxLength": 40,
          "minLength": 1,
          "type": "string"
        },
        "value": {
          "maxLength": 140,
          "type": "string"
        }
      },
      "required": [
        "name",
        "value"
      ],
      "type": "object"
    },
    "Filter": {
      "additionalProperties": false,
      "properties": {
        "properties": {
          "type": "object",
          "additionalProperties": {
            "type": [
              "string",
              "number",
              "boolean"
            ]
          }
        }
      },
      "required": [
        "properties"
      ],
      "type": "object"
    },
    "InvoiceSettings": {
      "additionalProperties": false,
      "properties": {
        "custom_fields": {
          "anyOf": [
            {
              "items": {
                "$ref": "#/$defs/CustomField"
              },
              "maxItems": 4,
              "type": "array"
            },
            {
              "type": "null"
            }
          ]
        }
      },
      "type": "object"
    },
    "JsonValue": {},
    "OverageAllowed": {
      "additionalProperties": false,
      "properties": {
        "feature_id": {
          "minLength": 1,
          "type": "string"
        },
        "enabled": {
          "type": "boolean"
        }
      },
      "required": [
        "feature_id"
      ],
      "type": "object"
    },
    "PurchaseLimit": {
      "additionalProperties": false,
      "properties": {
        "interval": {
          "enum": [
            "hour",
            "day",
            "week",
            "month"
          ],
          "type": "string"
        },
        "limit": {
          "type": "number"
        },
        "interval_count": {
          "type": "number"
        },
        "count": {
          "type": "number"
        }
      },
      "required": [
        "interval",
        "limit"
      ],
      "type": "object"
    },
    "SpendLimit": {
      "additionalProperties": false,
      "properties": {
        "feature_id": {
          "minLength": 1,
          "type": "string"
        },
        "enabled": {
          "type": "boolean"
        },
        "limit_type": {
          "enum": [
            "absolute",
            "usage_percentage"
          ],
          "type": "string"
        },
        "overage_limit": {
          "type": "number"
        },
        "skip_overage_billing": {
          "type": "boolean"
        }
      },
      "type": "object"
    },
    "TaxId": {
      "additionalProperties": false,
      "properties": {
        "type": {
          "minLength": 1,
          "type": "string"
        },
        "value": {
          "minLength": 1,
          "type": "string"
        }
      },
      "required": [
        "type",
        "value"
      ],
      "type": "object"
    },
    "TaxIds": {
      "additionalProperties": false,
      "properties": {
        "add": {
          "items": {
            "$ref": "#/$defs/TaxId"
          },
          "type": "array"
        },
        "remove": {
          "items": {
            "$ref": "#/$defs/TaxId"
          },
          "type": "array"
        }
      },
      "type": "object"
    },
    "UsageAlert": {
      "additionalProperties": false,
      "properties": {
        "threshold": {
          "type": "number"
        },
        "threshold_type": {
          "enum": [
            "usage",
            "usage_percentage",
            "remaining",
            "remaining_percentage"
          ],
          "type": "string"
        },
        "feature_id": {
          "minLength": 1,
          "type": "string"
        },
        "enabled": {
          "type": "boolean"
        },
        "basis": {
          "enum": [
            "balance",
            "included",
            "recurring",
            "usage_limit"
          ],
          "type": "string"
        },
        "filter": {
          "$ref": "#/$defs/Filter"
        },
        "name": {
          "type": "string"
        }
      },
      "required": [
        "threshold",
        "threshold_type"
      ],
      "type": "object"
    },
    "UsageLimit": {
      "additionalProperties": false,
      "properties": {
        "feature_id": {
          "minLength": 1,
          "type": "string"
        },
        "limit": {
          "type": "number"
        },
        "interval": {
          "enum": [
            "day",
            "week",
            "month",
            "year"
          ],
          "type": "string"
        },
        "enabled": {
          "type": "boolean"
        },
        "anchor": {
          "enum": [
            "billing_cycle",
            "utc"
          ],
          "type": "string"
        },
        "filter": {
          "$ref": "#/$defs/Filter"
        },
        "usage": {
          "type": "number"
        },
        "source": {
          "enum": [
            "customer",
            "plan"
          ],
          "type": "string"
        }
      },
      "required": [
        "feature_id"
      ],
      "type": "object"
    }
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
    },
    "source": {
      "anyOf": [
        {
          "maxLength": 100,
          "minLength": 1,
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
