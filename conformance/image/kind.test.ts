/**
 * The files of hack/kind: the manifests by Kubernetes' own schema (kubernetes-models: types and values) and by its types (no
 * field that does not exist), the cluster's configuration by the few fields that it may have, and the script that writes the
 * ConfigMap, with a kubectl that answers for a cluster. kind itself does not run here.
 */
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { DaemonSet } from "kubernetes-models/apps/v1";
import { ClusterRole, ClusterRoleBinding } from "kubernetes-models/rbac.authorization.k8s.io/v1";
import { ConfigMap, Secret, ServiceAccount } from "kubernetes-models/v1";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { type JsonObject, repository } from "../../testbed/harness.ts";

const kind = join(repository, "hack/kind");
let root = "";

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "podwire-kind-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function read(name: string): Promise<JsonObject> {
  return parse(await readFile(join(kind, name), "utf8")) as JsonObject;
}

/** What TypeScript has against a value of one of the package's types. */
async function typeErrors(type: string, from: string, value: unknown): Promise<string> {
  const directory = join(repository, "build/kind-types");
  await mkdir(directory, { recursive: true });
  const file = join(directory, `${type}.ts`);
  await writeFile(
    file,
    `import type { ${type} } from "${from}";\nexport const value: ${type} = ${JSON.stringify(value)};\n`,
  );
  const options = [
    "--ignoreConfig",
    "--noEmit",
    "--strict",
    "--skipLibCheck",
    "--module",
    "nodenext",
    "--target",
    "es2023",
  ];
  const result = await execa("tsc", [...options, file], { preferLocal: true, localDir: repository, reject: false });
  await rm(directory, { recursive: true });
  return String(result.stdout);
}

interface Pod {
  readonly hostNetwork: boolean;
  readonly containers: { image: string; args: string[]; volumeMounts: { name: string; mountPath: string }[] }[];
  readonly volumes: { name: string }[];
}

function podOf(set: JsonObject): Pod {
  return (set as unknown as { spec: { template: { spec: Pod } } }).spec.template.spec;
}

describe.each(["podwire.yaml", "uninstall.yaml"])("%s", (name) => {
  test("is a DaemonSet as Kubernetes takes it", async () => {
    const set = await read(name);
    expect(set).toMatchObject({ apiVersion: "apps/v1", kind: "DaemonSet" });
    new DaemonSet(set as never).validate();
    expect(await typeErrors("IDaemonSet", "kubernetes-models/apps/v1", set)).toBe("");
    const wrong = structuredClone(set);
    (podOf(wrong) as unknown as JsonObject).hostNetwrk = true;
    expect(await typeErrors("IDaemonSet", "kubernetes-models/apps/v1", wrong)).toContain("hostNetwrk");
  });

  test("fits together, and asks for no more than it needs", async () => {
    const set = (await read(name)) as JsonObject & {
      spec: { selector: { matchLabels: unknown }; template: { metadata: { labels: unknown } } };
    };
    expect(set.spec.selector.matchLabels).toEqual(set.spec.template.metadata.labels);
    const pod = podOf(set);
    expect(pod).toMatchObject({ hostNetwork: true, automountServiceAccountToken: false });
    expect(pod).not.toHaveProperty("hostPID");
    const [container] = pod.containers;
    const { version } = JSON.parse(await readFile(join(repository, "package.json"), "utf8")) as { version: string };
    expect(container).toMatchObject({
      image: `localhost/podwire:v${version}`,
      securityContext: {
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ["ALL"] },
        seccompProfile: { type: "RuntimeDefault" },
      },
    });
    expect(container?.volumeMounts.map((mount) => mount.name)).toEqual(pod.volumes.map((volume) => volume.name));
    const paths = container?.volumeMounts.map((mount) => mount.mountPath) ?? [];
    expect(paths).toContain("/host/opt/cni/bin");
    for (const word of container?.args ?? []) {
      const [, path] = /=(\/.*)$/.exec(word) ?? [];
      if (path !== undefined)
        expect(
          paths.some((mount) => path.startsWith(mount)),
          word,
        ).toBe(true);
    }
  });
});

test("the cluster has no network of its own, and the template's range", async () => {
  expect(await read("cluster.yaml")).toEqual({
    kind: "Cluster",
    apiVersion: "kind.x-k8s.io/v1alpha4",
    name: "podwire",
    networking: { disableDefaultCNI: true, podSubnet: "10.244.0.0/16" },
    nodes: [{ role: "control-plane" }, { role: "worker" }, { role: "worker" }],
  });
  expect(await readFile(join(kind, "conflist.json"), "utf8")).toContain('"clusterCIDRs": ["10.244.0.0/16"]');
});

test("the account of examples/overlay may list nodes and nothing else", async () => {
  const text = await readFile(join(repository, "examples/overlay/peers-rbac.yaml"), "utf8");
  const [account, secret, role, binding] = parseAllDocuments(text).map((item) => item.toJS() as JsonObject);
  new ServiceAccount(account as never).validate();
  new Secret(secret as never).validate();
  new ClusterRole(role as never).validate();
  new ClusterRoleBinding(binding as never).validate();
  expect(role).toMatchObject({ rules: [{ apiGroups: [""], resources: ["nodes"], verbs: ["list"] }] });
  expect(binding).toMatchObject({
    roleRef: { kind: "ClusterRole", name: "podwire-peers" },
    subjects: [{ kind: "ServiceAccount", name: "podwire-peers", namespace: "kube-system" }],
  });
});

describe("network.sh", () => {
  async function run(nodes: string) {
    await writeFile(join(root, "kubectl"), `#!/bin/sh\ncat <<'END'\n${nodes}\nEND\n`);
    await chmod(join(root, "kubectl"), 0o755);
    const env = { PATH: `${root}:${process.env.PATH}` };
    return execa(join(kind, "network.sh"), [], { env, reject: false });
  }

  test("writes a ConfigMap with all nodes as peers, and their subnets", async () => {
    const { stdout } = await run(
      "a-control-plane 172.18.0.2 10.244.0.0/24\na-worker fc00::3 172.18.0.3 10.244.1.0/24,fd00:10:244:1::/64",
    );
    const map = parse(stdout) as JsonObject & { data: Record<string, string> };
    new ConfigMap(map as never).validate();
    expect(await typeErrors("IConfigMap", "kubernetes-models/v1", map)).toBe("");
    expect(map).toMatchObject({ metadata: { name: "podwire", namespace: "kube-system" } });
    expect(map.data.nodes).toBe("a-control-plane 10.244.0.0/24\na-worker 10.244.1.0/24,fd00:10:244:1::/64\n");
    expect(JSON.parse(map.data["conflist.json"] ?? "")).toMatchObject({
      plugins: [
        { type: "bridge", ipam: { ranges: "$RANGES" } },
        {
          type: "vxlan-overlay",
          podCIDRs: "$SUBNETS",
          peers: [
            { nodeIP: "172.18.0.2", podCIDRs: ["10.244.0.0/24"] },
            { nodeIP: "172.18.0.3", podCIDRs: ["10.244.1.0/24", "fd00:10:244:1::/64"] },
          ],
        },
        { type: "portmap" },
        { type: "bandwidth" },
      ],
    });
  });

  test("lists nodes without any IPv4 address by IPv6, and names one that has no address of the others' version", async () => {
    const { stdout } = await run("a fc00::2 10.244.0.0/24\nb fc00::3 10.244.1.0/24");
    expect(stdout).toContain('{ "nodeIP": "fc00::3", "podCIDRs": ["10.244.1.0/24"] }');
    const result = await run("a 172.18.0.2 10.244.0.0/24\nb fc00::3 10.244.1.0/24");
    expect(result.exitCode).toBe(1);
    expect(result.stderr).toContain("node b has no IPv4 address");
  });

  test("says so when Kubernetes has not given a node its subnets yet", async () => {
    const result = await run("a-control-plane 172.18.0.2 10.244.0.0/24\na-worker 172.18.0.3 fc00::3 ");
    expect(result.exitCode).toBe(1);
    expect(result.stderr).toContain("node a-worker has no podCIDRs yet");
  });
});
