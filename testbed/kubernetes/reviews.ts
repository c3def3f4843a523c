/** Questions about oneself: SelfSubjectAccessReview, SelfSubjectReview. */
import type { User } from "./authentication.ts";
import type { Authorization } from "./authorization.ts";
import { type Clock, timestamp } from "./clock.ts";
import { badRequest, unknownResource } from "./failure.ts";
import { isObject, type JsonObject } from "./json.ts";
import type { ResourceTarget } from "./target.ts";

export interface ReviewParts {
  readonly user: User;
  readonly body: Buffer;
  readonly resource: ResourceTarget;
  readonly parts: { readonly authorization: Authorization; readonly clock: Clock };
  readonly userAgent: string;
}

/** @throws Failure 400, 404 */
export function review({ user, body, resource, parts, userAgent }: ReviewParts): JsonObject {
  if (resource.resource === "selfsubjectreviews") return whoAmI(user, parts.clock);
  if (resource.resource !== "selfsubjectaccessreviews") throw unknownResource();
  const spec = specIn(body);
  const asked = isObject(spec.resourceAttributes) ? spec.resourceAttributes : {};
  const path = isObject(spec.nonResourceAttributes) ? spec.nonResourceAttributes : {};
  const text = (value: unknown): string => (typeof value === "string" ? value : "");
  const reason = parts.authorization.reason(user, {
    user: user.name,
    verb: text(asked.verb ?? path.verb),
    group: text(asked.group),
    resource: text(asked.resource),
    subresource: text(asked.subresource),
    namespace: text(asked.namespace),
    name: text(asked.name),
    path: text(path.path),
  });
  const entry = {
    manager: userAgent.split("/")[0] || "unknown",
    operation: "Update",
    apiVersion: "authorization.k8s.io/v1",
    time: timestamp(parts.clock.now()),
    fieldsType: "FieldsV1",
    fieldsV1: { "f:spec": { "f:resourceAttributes": { ".": {}, ...attributeFields(asked) } } },
  };
  const status = reason === null ? { allowed: false } : { allowed: true, ...(reason === "" ? {} : { reason }) };
  const type = { kind: "SelfSubjectAccessReview", apiVersion: "authorization.k8s.io/v1" };
  return { ...type, metadata: { managedFields: [entry] }, spec, status };
}

function attributeFields(asked: JsonObject): JsonObject {
  const names = Object.keys(asked).sort();
  return Object.fromEntries(names.map((name) => [`f:${name}`, {}]));
}

function whoAmI({ name, uid, groups }: User, clock: Clock): JsonObject {
  const userInfo = { username: name, ...(uid === undefined ? {} : { uid }), groups };
  const metadata = { creationTimestamp: timestamp(clock.now()) };
  return { kind: "SelfSubjectReview", apiVersion: "authentication.k8s.io/v1", metadata, status: { userInfo } };
}

function specIn(body: Buffer): JsonObject {
  try {
    const object: unknown = JSON.parse(body.toString());
    if (isObject(object) && isObject(object.spec)) return object.spec;
  } catch {
    /* Told below. */
  }
  throw badRequest("the object provided is unrecognized (must be of type SelfSubjectAccessReview)");
}
