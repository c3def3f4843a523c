/** DELETE: at once, with a grace period for pods, or held up by finalizers. */
import { type Clock, timestamp } from "./clock.ts";
import { conflict, notFound } from "./failure.ts";
import { isObject, type JsonObject, type KubernetesObject } from "./json.ts";
import type { Kind } from "./kinds.ts";
import { keyOf, type Revision, type Store } from "./store.ts";
import { subjectOf } from "./writes.ts";

export interface Deletion {
  readonly store: Store;
  readonly clock: Clock;
  readonly kind: Kind;
  readonly namespace: string;
  readonly name: string;
  readonly query: URLSearchParams;
  readonly body: Buffer;
}

/**
 * @returns the object as it is now if it stays for a while or is a pod; otherwise a Status
 * @throws Failure 404, 409
 */
export function remove(deletion: Deletion): Revision | JsonObject {
  const { store, kind, name } = deletion;
  const key = keyOf(kind, deletion);
  const live = store.get(kind, key);
  if (live === undefined) throw notFound(subjectOf(deletion));
  const options = optionsOf(deletion.body);
  checkPreconditions(deletion, live.object, options);
  const grace = graceOf(deletion, live.object, options);
  const marked = markedForDeletion(deletion, live.object, grace);
  if ((live.object.metadata.finalizers ?? []).length > 0 || grace > 0) return store.write(kind, marked);
  if (kind.kind === "Pod") store.write(kind, marked);
  const gone = store.remove(kind, key);
  if (kind.kind === "Pod" && gone !== undefined) return gone;
  const group = kind.group === "" ? {} : { group: kind.group };
  const details = { name, ...group, kind: kind.plural, uid: live.object.metadata.uid };
  return { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details };
}

function optionsOf(body: Buffer): JsonObject {
  if (body.length === 0) return {};
  const options: unknown = JSON.parse(body.toString());
  return isObject(options) ? options : {};
}

function checkPreconditions({ kind, name }: Deletion, { metadata }: KubernetesObject, options: JsonObject): void {
  const { uid, resourceVersion } = isObject(options.preconditions) ? options.preconditions : {};
  const subject = { name, group: kind.group, kind: kind.kind };
  if (uid !== undefined && uid !== metadata.uid) {
    const why = `the UID in the precondition (${uid}) does not match the UID in record (${metadata.uid}). The object might have been deleted and then recreated`;
    throw conflict(subject, why);
  }
  if (resourceVersion !== undefined && resourceVersion !== metadata.resourceVersion) {
    const why = `the ResourceVersion in the precondition (${resourceVersion}) does not match the ResourceVersion in record (${metadata.resourceVersion}). The object might have been modified`;
    throw conflict(subject, why);
  }
}

/** Seconds; only a pod that runs on a node gets any. */
function graceOf({ kind, query }: Deletion, { spec, status }: KubernetesObject, options: JsonObject): number {
  if (kind.kind !== "Pod" || !isObject(spec) || spec.nodeName === undefined) return 0;
  const phase = isObject(status) ? status.phase : "";
  if (phase === "Succeeded" || phase === "Failed") return 0;
  return Number(
    options.gracePeriodSeconds ?? query.get("gracePeriodSeconds") ?? spec.terminationGracePeriodSeconds ?? 30,
  );
}

function markedForDeletion({ kind, clock }: Deletion, object: KubernetesObject, grace: number): KubernetesObject {
  const metadata = {
    ...object.metadata,
    deletionTimestamp: timestamp(clock.now() + grace * 1000),
    deletionGracePeriodSeconds: grace,
  };
  if (kind.generations) metadata.generation = (metadata.generation ?? 1) + 1;
  return { ...object, metadata };
}
