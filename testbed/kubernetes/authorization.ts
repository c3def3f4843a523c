/** Role-based access control from manifests, and the record of what was really asked for. */
import type { User } from "./authentication.ts";
import { detailsOf, Failure, failureStatus } from "./failure.ts";
import type { KubernetesObject } from "./json.ts";
import type { Target } from "./target.ts";

/** A rule of a Role or a ClusterRole. */
export interface Rule {
  readonly apiGroups?: readonly string[];
  readonly resources?: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly nonResourceURLs?: readonly string[];
  readonly verbs: readonly string[];
}

/** Something that was asked for, and whether it was allowed. */
export interface Access {
  readonly user: string;
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
  /** For what is no resource; "" otherwise. */
  readonly path: string;
}

interface Grant {
  readonly subjects: readonly { kind: string; name: string; namespace?: string }[];
  /** "" for all. */
  readonly namespace: string;
  readonly rules: readonly Rule[];
  /** What a SelfSubjectAccessReview says of it. */
  readonly reason: string;
}

const DISCOVERY = ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"];
const PUBLIC = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
const REVIEWS = ["selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"];

/** What every cluster grants. */
const STANDARD: readonly Grant[] = [
  standard("system:authenticated", [
    { nonResourceURLs: [...DISCOVERY, ...PUBLIC], verbs: ["get"] },
    { apiGroups: ["authorization.k8s.io", "authentication.k8s.io"], resources: REVIEWS, verbs: ["create"] },
  ]),
  standard("system:unauthenticated", [{ nonResourceURLs: PUBLIC, verbs: ["get"] }]),
];

function standard(group: string, rules: readonly Rule[]): Grant {
  return { subjects: [{ kind: "Group", name: group }], namespace: "", rules, reason: "" };
}

export class Authorization {
  #grants: readonly Grant[] = STANDARD;
  #accesses: Access[] = [];
  /** Everybody who is known may do everything, until `load` has been called. */
  #open = true;

  /**
   * From now on only what these grant is allowed. Bindings name roles among the same objects.
   * @param manifests ClusterRole, Role, ClusterRoleBinding, RoleBinding; others are left out
   */
  load(manifests: readonly KubernetesObject[]): void {
    const bindings = manifests.filter(({ kind }) => kind === "ClusterRoleBinding" || kind === "RoleBinding");
    this.#grants = [...STANDARD, ...bindings.map((binding) => grantOf(binding, manifests))];
    this.#open = false;
  }

  /** Everything that was asked for since the last `forget`, each thing once. */
  get accesses(): readonly Access[] {
    return this.#accesses;
  }

  forget(): void {
    this.#accesses = [];
  }

  /** Records the access. @throws Failure 403 */
  check(user: User, target: Target): void {
    const access = accessOf(user, target);
    const same = (one: Access): boolean =>
      Object.entries(access).every(([key, value]) => one[key as keyof Access] === value);
    if (!this.#accesses.some(same)) this.#accesses.push(access);
    if (this.reason(user, access) === null) throw forbidden(access);
  }

  /** Why it is allowed; null if it is not. */
  reason(user: User, access: Access): string | null {
    if (user.groups.includes("system:masters")) return "";
    if (this.#open && user.groups.includes("system:authenticated")) return "";
    const grant = this.#grants.find(
      ({ subjects, namespace, rules }) =>
        (namespace === "" || namespace === access.namespace) &&
        subjects.some((subject) => isMeant(user, subject)) &&
        rules.some((rule) => covers(rule, access)),
    );
    return grant === undefined ? null : grant.reason;
  }
}

function accessOf(user: User, { verb, path, resource }: Target): Access {
  if (resource === null) {
    return { user: user.name, verb, group: "", resource: "", subresource: "", namespace: "", name: "", path };
  }
  const { group, namespace, name, subresource } = resource;
  return { user: user.name, verb, group, resource: resource.resource, subresource, namespace, name, path: "" };
}

function grantOf(binding: KubernetesObject, manifests: readonly KubernetesObject[]): Grant {
  const { roleRef, subjects = [] } = binding as unknown as {
    roleRef: { kind: string; name: string };
    subjects?: { kind: string; name: string; namespace?: string }[];
  };
  const namespace = binding.kind === "RoleBinding" ? (binding.metadata.namespace ?? "default") : "";
  const role = manifests.find(
    ({ kind, metadata }) =>
      kind === roleRef.kind &&
      metadata.name === roleRef.name &&
      (kind === "ClusterRole" || (metadata.namespace ?? "default") === namespace),
  );
  if (role === undefined)
    throw new Error(`${binding.metadata.name} binds ${roleRef.kind} ${roleRef.name}: there is none`);
  const first = subjects[0];
  const reason = `RBAC: allowed by ${binding.kind} "${binding.metadata.name}" of ${roleRef.kind} "${roleRef.name}" to ${first?.kind} "${first?.name}/${first?.namespace}"`;
  return { subjects, namespace, rules: (role.rules as Rule[] | undefined) ?? [], reason };
}

function isMeant(user: User, { kind, name, namespace }: { kind: string; name: string; namespace?: string }): boolean {
  if (kind === "Group") return user.groups.includes(name);
  if (kind === "ServiceAccount") return user.name === `system:serviceaccount:${namespace}:${name}`;
  return user.name === name;
}

function covers(rule: Rule, access: Access): boolean {
  if (!matches(rule.verbs, access.verb)) return false;
  if (access.path !== "") {
    return (rule.nonResourceURLs ?? []).some(
      (url) => url === access.path || (url.endsWith("*") && access.path.startsWith(url.slice(0, -1))),
    );
  }
  const whole = access.subresource === "" ? access.resource : `${access.resource}/${access.subresource}`;
  const resources = rule.resources ?? [];
  return (
    matches(rule.apiGroups ?? [], access.group) &&
    (matches(resources, whole) || (access.subresource !== "" && resources.includes(`*/${access.subresource}`))) &&
    (rule.resourceNames === undefined || rule.resourceNames.includes(access.name))
  );
}

function matches(list: readonly string[], value: string): boolean {
  return list.includes("*") || list.includes(value);
}

/** 403, word by word as the recordings have it. */
function forbidden({ user, verb, group, resource, subresource, namespace, name, path }: Access): Failure {
  let message = `forbidden: User "${user}" cannot ${verb} path "${path}"`;
  if (path === "") {
    const whole = subresource === "" ? resource : `${resource}/${subresource}`;
    const plural = group === "" ? resource : `${resource}.${group}`;
    const scope = namespace === "" ? "at the cluster scope" : `in the namespace "${namespace}"`;
    const subject = name === "" ? plural : `${plural} "${name}"`;
    message = `${subject} is forbidden: User "${user}" cannot ${verb} resource "${whole}" in API group "${group}" ${scope}`;
  }
  const details = path === "" ? detailsOf({ name, group, kind: resource }) : {};
  const body = failureStatus({ code: 403, message, reason: "Forbidden", details });
  return new Failure({ status: 403, body, headers: [["X-Content-Type-Options", "nosniff"]] });
}
