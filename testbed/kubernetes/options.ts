/** The parameters of a list and of a watch, checked as the server checks them. */
import { badRequest, type Cause, forbiddenValue, internalError, invalidOptions, unsupportedValue } from "./failure.ts";

export interface ListOptions {
  readonly watch: boolean;
  readonly labelSelector: string;
  readonly fieldSelector: string;
  /** 0 for none. */
  readonly limit: number;
  readonly continueToken: string;
  /** As it was given; "" for none. */
  readonly resourceVersion: string;
  readonly match: string;
  /** Null for a parameter that is not there. */
  readonly sendInitialEvents: boolean | null;
  readonly allowBookmarks: boolean;
  /** 0 for none. */
  readonly timeoutSeconds: number;
}

/**
 * @param watchList whether the server has streaming lists
 * @throws Failure 400, 422 or, for a watch from a version that is no number, 500
 */
export function listOptions(query: URLSearchParams, { watchList }: { watchList: boolean }): ListOptions {
  const options: ListOptions = {
    watch: flag(query, "watch") ?? false,
    labelSelector: query.get("labelSelector") ?? "",
    fieldSelector: query.get("fieldSelector") ?? "",
    limit: Math.max(0, integer(query, "limit")),
    continueToken: query.get("continue") ?? "",
    resourceVersion: query.get("resourceVersion") ?? "",
    match: query.get("resourceVersionMatch") ?? "",
    sendInitialEvents: flag(query, "sendInitialEvents"),
    allowBookmarks: flag(query, "allowWatchBookmarks") ?? false,
    timeoutSeconds: Math.max(0, integer(query, "timeoutSeconds")),
  };
  const causes = options.watch ? watchCauses(options, watchList) : listCauses(options);
  if (causes.length > 0) throw invalidOptions("ListOptions", causes);
  if (!/^\d*$/.test(options.resourceVersion)) throw notANumber(options);
  return options;
}

function notANumber({ resourceVersion, watch }: ListOptions): Error {
  const value = JSON.stringify(resourceVersion);
  const message = `resourceVersion: Invalid value: ${value}: strconv.ParseUint: parsing ${value}: invalid syntax`;
  return watch ? internalError(message) : badRequest(`invalid resource version: ${message}`);
}

function integer(query: URLSearchParams, name: string): number {
  const text = query.get(name) ?? "";
  if (text === "") return 0;
  if (!/^[+-]?\d+$/.test(text)) throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
  return Number(text);
}

/** Whatever is not "false" or "0" counts as true. */
function flag(query: URLSearchParams, name: string): boolean | null {
  const text = query.get(name);
  return text === null ? null : text !== "0" && text.toLowerCase() !== "false";
}

const MATCH = "resourceVersionMatch";

function listCauses({ match, resourceVersion, continueToken, sendInitialEvents }: ListOptions): Cause[] {
  const causes: Cause[] = [];
  if (sendInitialEvents !== null) {
    causes.push(forbiddenValue("sendInitialEvents", "sendInitialEvents is forbidden for list"));
  }
  if (match === "") return causes;
  if (continueToken !== "") causes.push(forbiddenValue(MATCH, `${MATCH} is forbidden when continue is provided`));
  if (resourceVersion === "") {
    causes.push(forbiddenValue(MATCH, `${MATCH} is forbidden unless resourceVersion is provided`));
  }
  if (match !== "Exact" && match !== "NotOlderThan") {
    causes.push(unsupportedValue(MATCH, JSON.stringify(match), ['"Exact"', '"NotOlderThan"', '""']));
  }
  if (match === "Exact" && resourceVersion === "0") {
    causes.push(forbiddenValue(MATCH, `${MATCH} "Exact" is forbidden for resourceVersion "0"`));
  }
  return causes;
}

function watchCauses({ match, sendInitialEvents }: ListOptions, watchList: boolean): Cause[] {
  if (sendInitialEvents === null) {
    const message = `${MATCH} is forbidden for watch unless sendInitialEvents is provided`;
    return match === "" ? [] : [forbiddenValue(MATCH, message)];
  }
  if (!watchList) {
    const message = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
    return [forbiddenValue("sendInitialEvents", message)];
  }
  const causes: Cause[] = [];
  if (match !== "NotOlderThan") {
    causes.push(forbiddenValue(MATCH, `sendInitialEvents requires setting ${MATCH} to NotOlderThan`));
    if (match !== "") causes.push(unsupportedValue(MATCH, JSON.stringify(match), ['"NotOlderThan"']));
  }
  return causes;
}
