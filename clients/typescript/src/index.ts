export { CustomerSyncError, type FieldError } from "./errors.js";
export type {
  Address,
  Allocation,
  AutoTopup,
  BalanceAllocation,
  BillingControls,
  BillingDetails,
  Changes,
  Config,
  CustomField,
  CustomerUpdate,
  Filter,
  InvoiceSettings,
  JsonValue,
  OverageAllowed,
  PurchaseLimit,
  SpendLimit,
  TaxId,
  TaxIds,
  UsageAlert,
  UsageLimit,
} from "./event.js";
export { Client, type ClientOptions } from "./http.js";
export { overRedis, type RedisClient, type RedisOptions } from "./redis.js";
export type { EventSender, Outcome, OutcomeOptions } from "./sender.js";
