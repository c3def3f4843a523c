/** Events of the API on this node's object: what an administrator must act on, where `kubectl describe node` shows it. Pure. */
import { type Json, jsonNumber, jsonObject, jsonString } from "../lib/cni/json.ts";

/** Events of objects in no namespace belong to this one. */
export const EVENTS_PATH = "/api/v1/namespaces/default/events";
/** The API refuses longer messages. */
const MAX_MESSAGE = 1024;

export interface NodeEvent {
  readonly node: string;
  /** "Warning" or "Normal". */
  readonly type: string;
  /** One word, for programs. */
  readonly reason: string;
  readonly message: string;
  /** RFC 3339, "2026-11-30T12:00:00Z" */
  readonly time: string;
}

export function nodeEvent({ node, type, reason, message, time }: NodeEvent): Json {
  const text = message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE - 3)}...` : message;
  /* The kubelet's events name the node's name as its uid, too, and that is where kubectl looks. */
  const involved = jsonObject()
    .with("kind", jsonString("Node"))
    .with("name", jsonString(node))
    .with("uid", jsonString(node));
  return jsonObject()
    .with("kind", jsonString("Event"))
    .with("apiVersion", jsonString("v1"))
    .with(
      "metadata",
      jsonObject()
        .with("generateName", jsonString(`${node}.podwire-`))
        .with("namespace", jsonString("default")),
    )
    .with("involvedObject", involved)
    .with("source", jsonObject().with("component", jsonString("podwire-agent")).with("host", jsonString(node)))
    .with("type", jsonString(type))
    .with("reason", jsonString(reason))
    .with("message", jsonString(text))
    .with("count", jsonNumber(1))
    .with("firstTimestamp", jsonString(time))
    .with("lastTimestamp", jsonString(time));
}
