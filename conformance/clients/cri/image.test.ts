/** The image under the real containerd: a pod like the DaemonSet's fills an empty node, pods start, and it takes itself away. */
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { repository } from "../../../testbed/harness.ts";
import { program } from "../programs.ts";
import { pluginsOf, podwire, ran } from "../suites.ts";
import { traces } from "../traces.ts";
import type { AgentWish } from "./client.ts";
import { Containerd, type ContainerdName } from "./containerd.ts";
import { until } from "./lab.ts";
import { wish } from "./network.ts";

const NODE = "kind-worker";
const SUBNET = "10.244.1.0/24";
const HOST: { readonly name: string; readonly hostNetwork: true } = { name: "podwire", hostNetwork: true };

const IP = "172.18.0.3";

/** The DaemonSet's arguments, and the template as network.sh fills in the cluster's nodes. */
async function manifest(): Promise<{ args: string[]; template: string }> {
  const set = parse(await readFile(join(repository, "hack/kind/podwire.yaml"), "utf8")) as {
    spec: { template: { spec: { containers: { args: string[] }[] } } };
  };
  const peers = [
    { nodeIP: "172.18.0.2", podCIDRs: ["10.244.0.0/24"] },
    { nodeIP: IP, podCIDRs: [SUBNET] },
  ];
  const template = await readFile(join(repository, "hack/kind/conflist.json"), "utf8");
  return {
    args: set.spec.template.spec.containers[0]?.args ?? [],
    template: template.replace('"$PEERS"', JSON.stringify(peers)),
  };
}

describe.each(["containerd16", "containerd21"] as const)("under %s", (name: ContainerdName) => {
  let containerd: Containerd;
  let missing = "";
  let version = "";

  beforeAll(async () => {
    for (const needed of [name, "runc"] as const)
      if ((await program(needed)).version === "") missing = `${needed} could not be had`;
    if (missing !== "") return;
    const release = join(repository, "build/release");
    const file = (await readdir(release).catch(() => [] as string[])).find((entry) =>
      entry.startsWith("podwire-image-"),
    );
    if (file === undefined) throw new Error("first run: make image");
    containerd = await Containerd.create(name);
    await containerd.importImage(join(release, file));
    version = /v[0-9.]+[0-9]/.exec(file)?.[0] ?? "";
  });
  afterAll(() => containerd?.remove());
  beforeEach((context) => {
    if (missing !== "") context.skip(missing);
  });

  test("installs, idles, is told to end, uninstalls", async () => {
    const { node, cri } = containerd;
    const names = await pluginsOf(await podwire());
    const { args, template } = await manifest();
    const config = join(node.directory, "config");
    await mkdir(config);
    await writeFile(join(config, "conflist.json"), template);
    await writeFile(join(config, "nodes"), `kind-control-plane 10.244.0.0/24\n${NODE} ${SUBNET}\n`);
    await writeFile(join(node.bin, "foreign"), "another project's", { mode: 0o755 });
    const agent = (list: readonly string[]): AgentWish => ({
      image: `localhost/podwire:${version}`,
      args: list.map((word) => word.replace("$(NODE_NAME)", NODE)),
      env: {},
      mounts: { "/host/opt/cni/bin": node.bin, "/host/etc/cni/net.d": node.confDir, "/etc/podwire": config },
    });

    /* The link to the other nodes. */
    await node.exec("ip", ["link", "add", "eth0", "up", "type", "bridge"]);
    await node.exec("ip", ["address", "add", `${IP}/16`, "dev", "eth0"]);

    expect((await cri.network()).ready, "nothing is there yet").toBe(false);
    const host = await cri.runPod(HOST);
    const installer = await cri.runAgent(host, HOST, "install", agent(args));
    await until(async () => (await cri.network()).ready);
    expect((await readdir(node.bin)).sort()).toEqual([...names, "foreign"].sort());
    const files = await Promise.all(names.map((plugin) => stat(join(node.bin, plugin))));
    expect(new Set(files.map((file) => `${file.ino} ${file.mode & 0o7777}`))).toEqual(
      new Set([`${files[0]?.ino} ${0o755}`]),
    );
    const status = await cri.containerStatus(installer);
    expect(status.running).toBe(true);
    const process = await node.exec("cat", [`/proc/${status.pid}/status`]);
    expect(process, "asleep").toMatch(/State:\s+S/);
    expect(process, "without a capability").toMatch(/CapEff:\s+0+\n/);
    expect(Number(/VmRSS:\s+(\d+)/.exec(process)?.[1]), "kB of memory").toBeLessThan(1000);

    const pods = await Promise.all([1, 2, 3].map((number) => cri.runPod(wish(number))));
    for (const pod of pods) {
      const { ready, addresses } = await cri.status(pod);
      expect(ready).toBe(true);
      expect(addresses).toEqual([expect.stringMatching(/^10\.244\.1\./)]);
    }
    const addresses = (await Promise.all(pods.map((pod) => cri.status(pod)))).flatMap((pod) => pod.addresses);
    await Promise.all(pods.map((pod) => cri.endPod(pod)));
    expect(await traces(node, { ids: pods, addresses })).toEqual([]);

    const started = Date.now();
    await cri.stopContainer(installer, 30);
    expect(Date.now() - started, "ms; SIGTERM is heard").toBeLessThan(10_000);
    expect(await cri.containerStatus(installer)).toMatchObject({ running: false, exitCode: 0 });

    const list = ["--conf-dir=/host/etc/cni/net.d", "--uninstall"];
    const uninstaller = await cri.runAgent(host, HOST, "uninstall", agent(list));
    await until(async () => !(await cri.containerStatus(uninstaller)).running);
    expect((await cri.containerStatus(uninstaller)).exitCode).toBe(0);
    expect(await readdir(node.bin)).toEqual(["foreign"]);
    expect(await readdir(node.confDir)).toEqual([]);
    await cri.endPod(host);
    const client = `containerd ${(await program(name)).version}`;
    ran(client, (await podwire()).name, "the image installs, idles, uninstalls");
  });
});
