/**
 * What the agent changes of this node's own object in the API: the condition NetworkUnavailable, a startup taint, and flannel's
 * annotations. Pure: patches as JSON.
 */
import { type Json, jsonArray, jsonObject, jsonString } from "../lib/cni/json.ts";
import { itemAt } from "../lib/lists.ts";
import { itemsOf, textIn, valueAt } from "./values.ts";

const CONDITION = "NetworkUnavailable";

/** Whether the node has the condition, and it is not "False": somebody waits for the network to say that it works. */
export function isNetworkUnavailable(node: Json): boolean {
  for (const condition of itemsOf(valueAt(node, "status", "conditions"))) {
    if (textIn(condition, "type") === CONDITION) return textIn(condition, "status") !== "False";
  }
  return false;
}

/** The strategic merge patch of `nodes/NAME/status` that says that the network works. @param now RFC 3339, "2026-11-30T12:00:00Z" */
export function networkAvailable(now: string): Json {
  const condition = jsonObject()
    .with("type", jsonString(CONDITION))
    .with("status", jsonString("False"))
    .with("reason", jsonString("PodwireIsUp"))
    .with("message", jsonString("Podwire has set up the network of this node"))
    .with("lastHeartbeatTime", jsonString(now))
    .with("lastTransitionTime", jsonString(now));
  return jsonObject().with("status", jsonObject().with("conditions", jsonArray([condition])));
}

/** Whether the node has a taint of that key. */
export function hasTaint(node: Json, key: string): boolean {
  for (const taint of itemsOf(valueAt(node, "spec", "taints"))) if (textIn(taint, "key") === key) return true;
  return false;
}

/**
 * The patch of a Node that takes a taint away. Taints are one list, which is replaced as a whole: the patch is refused (409) if the
 * object has changed since it was seen, so that no taint of somebody else is lost.
 */
export function withoutTaint(node: Json, key: string): Json {
  const taints = jsonArray([]);
  for (const taint of itemsOf(valueAt(node, "spec", "taints")))
    if (textIn(taint, "key") !== key) taints.items.push(taint);
  const version = textIn(node.get("metadata"), "resourceVersion");
  return jsonObject()
    .with("metadata", jsonObject().with("resourceVersion", jsonString(version)))
    .with("spec", jsonObject().with("taints", taints));
}

/** A patch of annotations; through `nodes/NAME/status`, where changes of metadata are taken. */
export function annotated(annotations: Json): Json {
  return jsonObject().with("metadata", jsonObject().with("annotations", annotations));
}

/** Whether the node has all of the annotations, with these values; one whose value is null must not be there. */
export function hasAnnotations(node: Json, annotations: Json): boolean {
  const present = valueAt(node, "metadata", "annotations");
  let at = 0;
  for (const key of annotations.keys) {
    const wanted = itemAt(annotations.items, at);
    at += 1;
    if (wanted === null) return false;
    if (textIn(present, key) !== (wanted.kind === "null" ? "" : wanted.text)) return false;
  }
  return true;
}
