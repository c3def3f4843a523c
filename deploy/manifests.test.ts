/** The files of deploy/: they are what deploy/source generates, Kubernetes takes them, and they agree with the programs they start. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { DaemonSet } from "kubernetes-models/apps/v1";
import { ClusterRole, ClusterRoleBinding, RoleBinding } from "kubernetes-models/rbac.authorization.k8s.io/v1";
import { ConfigMap, Namespace, ServiceAccount } from "kubernetes-models/v1";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { readOptions as readAgentOptions } from "../agent/options.ts";
import { readSettings } from "../agent/settings.ts";
import { readOptions as readInstallOptions } from "../lib/install/options.ts";
import { chart, documents, kustomize, type Manifest, readDocuments, render } from "./expand.ts";
import { CHART_VALUES } from "./source/chart.ts";
import { DISTRIBUTIONS } from "./source/distributions.ts";
import { generatedFiles } from "./source/files.ts";
import { settingsText, USUAL } from "./source/values.ts";

const here = import.meta.dirname;
const podwire = await readDocuments(join(here, "podwire.yaml"));
const uninstall = await readDocuments(join(here, "uninstall.yaml"));
const taint = await readDocuments(join(here, "startup-taint.yaml"));

const MODELS = {
  Namespace,
  ServiceAccount,
  ConfigMap,
  DaemonSet,
  ClusterRole,
  ClusterRoleBinding,
  RoleBinding,
} as const;

/** @throws Error if an object is of no kind that is known, or its schema does not take it */
function validate(objects: readonly Manifest[]): void {
  for (const object of objects) {
    const Model = MODELS[object.kind as keyof typeof MODELS];
    new Model(object as never).validate();
  }
}

interface Container {
  readonly name: string;
  readonly image: string;
  readonly command: string[];
  readonly args: string[];
  readonly env?: { name: string; value?: string; valueFrom?: { fieldRef: { fieldPath: string } } }[];
  readonly securityContext: { capabilities: { add?: string[] } };
  readonly volumeMounts: { name: string; mountPath: string; readOnly?: boolean }[];
}

interface Pod {
  readonly [member: string]: unknown;
  readonly securityContext: object;
  readonly initContainers?: Container[];
  readonly containers: Container[];
  readonly volumes: { name: string; hostPath?: { path: string }; configMap?: { name: string } }[];
}

function find(objects: readonly Manifest[], kind: string): Manifest {
  const [found] = objects.filter((object) => object.kind === kind);
  if (found === undefined) throw new Error(`there is no ${kind}`);
  return found;
}

function podOf(objects: readonly Manifest[]): Pod {
  return (find(objects, "DaemonSet") as unknown as { spec: { template: { spec: Pod } } }).spec.template.spec;
}

function containersOf({ initContainers = [], containers }: Pod): Container[] {
  return [...initContainers, ...containers];
}

/** The place on the node of a path in a container; "" if it is not the node's. */
function onNode(pod: Pod, container: Container, path: string): string {
  for (const { name, mountPath } of container.volumeMounts) {
    if (path !== mountPath && !path.startsWith(`${mountPath}/`)) continue;
    const source = pod.volumes.find((volume) => volume.name === name)?.hostPath?.path;
    if (source !== undefined) return source + path.slice(mountPath.length);
  }
  return "";
}

function settingsOf(objects: readonly Manifest[]) {
  const text = (find(objects, "ConfigMap") as unknown as { data: Record<string, string> }).data["network.json"] ?? "";
  return readSettings(new TextEncoder().encode(text), "network.json");
}

/** The agent's options as its container gives them. */
function agentOptions(pod: Pod) {
  const [agent] = pod.containers;
  const values = new Map((agent?.env ?? []).map(({ name, value }) => [name, value ?? "some-node"]));
  return readAgentOptions(agent?.args ?? [], (name) => values.get(name) ?? "");
}

test("what is committed is what deploy/source generates: make manifests writes it again", async () => {
  const files = generatedFiles();
  for (const [path, text] of files) expect(await readFile(join(here, path), "utf8"), path).toBe(text);
  for (const folder of ["kustomize", "helm"]) {
    const entries = await readdir(join(here, folder), { recursive: true, withFileTypes: true });
    const there = entries.filter((entry) => entry.isFile());
    expect(there).toHaveLength([...files.keys()].filter((path) => path.startsWith(`${folder}/`)).length);
  }
});

describe("podwire.yaml", () => {
  test("is taken by Kubernetes' schema, and its objects name each other", () => {
    validate([...podwire, ...taint]);
    const wrong = structuredClone(podwire);
    (podOf(wrong) as unknown as Record<string, unknown>).hostNetwork = "yes";
    expect(() => validate(wrong)).toThrow("hostNetwork");
    expect(podwire.map(({ kind }) => kind)).toEqual([
      ...["Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "ConfigMap", "DaemonSet"],
    ]);
    const set = find(podwire, "DaemonSet") as unknown as {
      spec: { selector: { matchLabels: object }; template: { metadata: { labels: object } } };
    };
    expect(set.spec.selector.matchLabels).toEqual(set.spec.template.metadata.labels);
    const pod = podOf(podwire);
    expect(pod.serviceAccountName).toBe(find(podwire, "ServiceAccount").metadata.name);
    const namespace = find(podwire, "Namespace");
    expect(namespace.metadata.labels).toMatchObject({ "pod-security.kubernetes.io/enforce": "privileged" });
    for (const { kind, metadata } of podwire) {
      const isOfCluster = kind === "Namespace" || kind.startsWith("Cluster");
      expect(metadata.namespace).toBe(isOfCluster ? undefined : namespace.metadata.name);
    }
    const map = find(podwire, "ConfigMap").metadata.name;
    expect(pod.volumes.flatMap(({ configMap }) => (configMap === undefined ? [] : [configMap.name]))).toEqual([map]);
  });

  test("gives its containers no more than they need", () => {
    const pod = podOf(podwire);
    expect(pod).toMatchObject({ hostNetwork: true, securityContext: { seccompProfile: { type: "RuntimeDefault" } } });
    for (const member of ["hostPID", "hostIPC", "shareProcessNamespace"]) expect(pod).not.toHaveProperty(member);
    for (const { securityContext } of containersOf(pod)) {
      expect(securityContext).toMatchObject({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ["ALL"] },
      });
      expect(securityContext).not.toHaveProperty("privileged");
    }
    expect(containersOf(pod).map(({ securityContext }) => securityContext.capabilities.add ?? [])).toEqual([
      [],
      ["NET_ADMIN"],
    ]);
    const used = containersOf(pod).flatMap(({ volumeMounts }) => volumeMounts.map(({ name }) => name));
    expect(used).toEqual(pod.volumes.map(({ name }) => name));
  });

  test("starts on every node, before it is ready", () => {
    expect(podOf(podwire)).toMatchObject({
      priorityClassName: "system-node-critical",
      nodeSelector: { "kubernetes.io/os": "linux" },
      tolerations: [
        { operator: "Exists", effect: "NoSchedule" },
        { operator: "Exists", effect: "NoExecute" },
      ],
    });
  });

  test("installs the plugins where the runtime looks, and no list", () => {
    const pod = podOf(podwire);
    const [install] = pod.initContainers ?? [];
    if (install === undefined) throw new Error("there is no installer");
    expect(install.command).toEqual(["/podwire-install"]);
    const options = readInstallOptions(install.args, () => "");
    expect(options).toMatchObject({ confDir: "", template: "", uninstall: false, wait: false });
    expect(onNode(pod, install, options.binDir)).toBe(USUAL.binDir);
  });

  test("starts the agent with what it reads", () => {
    const pod = podOf(podwire);
    const [agent] = pod.containers;
    if (agent === undefined) throw new Error("there is no agent");
    expect(agent.command).toEqual(["/podwire-agent"]);
    const options = agentOptions(pod);
    expect(options).toMatchObject({ command: "run", node: "some-node", kubeconfig: "", server: "", log: "text" });
    const [node] = agent.env ?? [];
    expect(node).toEqual({ name: "NODE_NAME", valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } } });
    for (const { name } of agent.env ?? []) {
      const changed = readAgentOptions(["--node=a"], (one) => (one === name ? "json" : ""));
      const usual = readAgentOptions(["--node=a"], () => "");
      if (name !== "NODE_NAME") expect(changed, `${name} is read by the agent`).not.toEqual(usual);
    }
    /* The plugins are told this path, so it must be the node's. */
    expect(onNode(pod, agent, options.runDir)).toBe(options.runDir);
    expect(onNode(pod, agent, options.confDir)).toBe(USUAL.confDir);
    expect(onNode(pod, agent, `${options.procSys}/net`)).toBe("/proc/sys/net");
    const settings = agent.volumeMounts.find(({ mountPath }) => options.settings.startsWith(`${mountPath}/`));
    expect(settings).toMatchObject({ name: "settings", readOnly: true });
    expect(options.settings).toBe(`${settings?.mountPath}/network.json`);
    /* The records of pods have these paths: a pod whose namespace is not seen counts as gone. */
    expect(agent.volumeMounts).toContainEqual({
      ...{ name: "netns", mountPath: "/var/run/netns" },
      ...{ readOnly: true, mountPropagation: "HostToContainer" },
    });
  });

  test("asks the agent whether the network is as it should be", () => {
    const { readinessProbe } = podOf(podwire).containers[0] as unknown as {
      readinessProbe: { exec: { command: string[] } };
    };
    const [program, ...words] = readinessProbe.exec.command;
    expect(program).toBe("/podwire-agent");
    expect(readAgentOptions(words, () => "")).toMatchObject({
      command: "check",
      runDir: agentOptions(podOf(podwire)).runDir,
    });
  });

  test("has settings that the agent takes", () => {
    expect(settingsOf(podwire)).toEqual(
      readSettings(new TextEncoder().encode('{"clusterCIDRs":["10.244.0.0/16"]}'), ""),
    );
  });
});

describe("uninstall.yaml", () => {
  test("removes what podwire.yaml has installed, from the same directories", () => {
    validate(uninstall);
    const pod = podOf(uninstall);
    expect(pod).toMatchObject({ automountServiceAccountToken: false, tolerations: [{ operator: "Exists" }] });
    const [container] = pod.containers;
    if (container === undefined) throw new Error("there is no container");
    const options = readInstallOptions(container.args, () => "");
    expect(options).toMatchObject({ uninstall: true, wait: true });
    expect(onNode(pod, container, options.binDir)).toBe(USUAL.binDir);
    expect(onNode(pod, container, options.confDir)).toBe(USUAL.confDir);
    expect(options.confName).toBe(agentOptions(podOf(podwire)).confName);
    expect(container.securityContext.capabilities.add).toBeUndefined();
    expect(find(uninstall, "DaemonSet").metadata.namespace).not.toBe(find(podwire, "Namespace").metadata.name);
  });
});

describe("kustomize", () => {
  test("has the objects of podwire.yaml as its base", async () => {
    expect(await kustomize(join(here, "kustomize/base"))).toEqual(podwire);
  });

  test.each(DISTRIBUTIONS)("$name changes what it says, and nothing else", async (distribution) => {
    const objects = await kustomize(join(here, "kustomize", distribution.name));
    validate(objects);
    const pod = podOf(objects);
    const path = (name: string): string | undefined =>
      pod.volumes.find((volume) => volume.name === name)?.hostPath?.path;
    expect(path("cni-bin")).toBe(distribution.binDir ?? USUAL.binDir);
    expect(path("cni-conf")).toBe(distribution.confDir ?? USUAL.confDir);
    const given = settingsText(distribution.settings ?? {});
    if (distribution.settings === undefined) expect(settingsOf(objects)).toEqual(settingsOf(podwire));
    else expect(settingsOf(objects)).toEqual(readSettings(new TextEncoder().encode(given), ""));
    expect(objects.filter(({ kind }) => kind === "RoleBinding")).toHaveLength(distribution.constraints ? 1 : 0);
    const usual = podOf(podwire);
    expect(pod.containers).toEqual(usual.containers);
    expect(pod.initContainers).toEqual(usual.initContainers);
    const isChanged = distribution.seLinux === true;
    expect(JSON.stringify(pod.securityContext).includes("spc_t")).toBe(isChanged);
    expect(pod.nodeSelector).toEqual({ "kubernetes.io/os": "linux", ...distribution.nodeSelector });
  });
});

describe("the chart", () => {
  const folder = join(here, "helm/podwire");
  const rendered = (values: object = {}): Promise<Manifest[]> => chart(folder, "podwire", values);
  const byKind = (objects: readonly Manifest[]): Manifest[] =>
    objects.toSorted((a, b) => (`${a.kind} ${a.metadata.name}` < `${b.kind} ${b.metadata.name}` ? -1 : 1));

  test("gives podwire.yaml's objects, but the namespace, which Helm makes", async () => {
    const objects = byKind(await rendered());
    const usual = byKind(podwire.filter(({ kind }) => kind !== "Namespace"));
    validate(objects);
    expect(settingsOf(objects)).toEqual(settingsOf(usual));
    /* The text of the settings is on one line here; the sum of the settings starts the agents again when they change. */
    const plain = (all: Manifest[]) =>
      all.map((object) => {
        const text = JSON.stringify({ ...object, data: undefined });
        return JSON.parse(text.replace(/"annotations":\{"podwire.dev\/settings":"[0-9a-f]{64}"\},/, ""));
      });
    expect(plain(objects)).toEqual(plain(usual));
  });

  test("has at most ten values, and each does something", async () => {
    const names = Object.keys(CHART_VALUES);
    expect(names.length).toBeLessThanOrEqual(10);
    const changes: Record<string, unknown> = {
      settings: { clusterCIDRs: ["10.1.0.0/16"] },
      nodeSelector: { a: "b" },
    };
    const usual = await rendered();
    for (const name of names) {
      expect(await rendered({ [name]: changes[name] ?? "changed" }), name).not.toEqual(usual);
    }
  });

  test("gives the further rights only to an agent with a startup taint", async () => {
    const names = (objects: readonly Manifest[]) => objects.map(({ metadata }) => metadata.name);
    const usual = await rendered();
    const tainted = await rendered({ settings: { startupTaint: "podwire.dev/not-ready" } });
    expect(settingsOf(tainted).startupTaint).toBe("podwire.dev/not-ready");
    const further = tainted.filter(({ metadata }) => !names(usual).includes(metadata.name));
    expect(further).toEqual(taint);
  });

  test("says SELinux's type if it is asked to", async () => {
    expect(podOf(await rendered({ seLinuxType: "spc_t" })).securityContext).toEqual({
      ...podOf(podwire).securityContext,
      seLinuxOptions: { type: "spc_t" },
    });
  });

  test("has the version of Podwire", async () => {
    const { version } = JSON.parse(await readFile(join(here, "../package.json"), "utf8")) as { version: string };
    expect(parse(await readFile(join(folder, "Chart.yaml"), "utf8"))).toMatchObject({ version, appVersion: version });
    expect(USUAL.image).toContain(`:v${version}`);
  });

  test("is rendered by nothing that the renderer of the tests does not know", () => {
    expect(() => render("{{ include .A }}", {})).toThrow("not known");
    expect(() => render("{{ .A.B }}", { A: {} })).toThrow("there is no .A.B");
    expect(render('a: "{{ .A }}"\n{{- if .B }}\nb: 1\n{{- end }}\nc: {{ toJson .C }}\n', { A: "x", C: [1] })).toBe(
      'a: "x"\nc: [1]\n',
    );
    expect(documents("a: 1\n---\nb: 2\n")).toHaveLength(2);
  });
});
