export { CustomerSyncError, type FieldError } from "./errors.js";
export type { Changes, CustomerUpdate, JsonValue } from "./event.js";
export { Client, type ClientOptions } from "./http.js";
export { overRedis, type RedisClient, type RedisOptions } from "./redis.js";
export type { EventSender, Outcome, OutcomeOptions } from "./sender.js";
