/** containerd with its CRI on a node of its own: configuration, start, kill, restart, and the image it starts pods from. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { buildImage, IMAGE } from "../image.ts";
import { type Daemon, Node, sleep } from "../node.ts";
import { program } from "../programs.ts";
import { Cri } from "./client.ts";

export type ContainerdName = "containerd16" | "containerd21";

/** What of containerd is not needed here, or looks at what the machine does not have. */
const DISABLED = ["btrfs", "zfs", "aufs", "devmapper", "blockfile", "erofs"].map(
  (name) => `io.containerd.snapshotter.v1.${name}`,
);

/** The configuration in the format of containerd 1 (version 2) or containerd 2 (version 3). */
function configuration(name: ContainerdName, node: Node, runc: string): string {
  const directory = node.directory;
  const common = `root = "${node.disk}/containerd"
state = "/run/containerd"
disabled_plugins = ${JSON.stringify([...DISABLED, "io.containerd.nri.v1.nri"])}
[grpc]
address = "${directory}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "${directory}/opt"
`;
  const cni = (plugin: string, bin: string) => `[plugins."${plugin}".cni]
${bin}
conf_dir = "${node.confDir}"
`;
  const runtime = (plugin: string) => `[plugins."${plugin}".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."${plugin}".containerd.runtimes.runc.options]
BinaryName = "${runc}"
`;
  if (name === "containerd16") {
    const plugin = "io.containerd.grpc.v1.cri";
    return `version = 2
${common}[plugins."${plugin}"]
sandbox_image = "${IMAGE}"
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."${plugin}".containerd]
snapshotter = "native"
${runtime(plugin)}${cni(plugin, `bin_dir = "${node.bin}"`)}`;
  }
  const plugin = "io.containerd.cri.v1.runtime";
  return `version = 3
${common}[plugins."io.containerd.cri.v1.images"]
snapshotter = "native"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "${IMAGE}"
[plugins."${plugin}"]
disable_apparmor = true
restrict_oom_score_adj = true
${runtime(plugin)}${cni(plugin, `bin_dirs = ["${node.bin}"]`)}`;
}

export class Containerd {
  readonly node: Node;
  readonly cri: Cri;
  readonly #name: ContainerdName;
  readonly #bin: string;
  #daemon: Daemon | null = null;

  private constructor(name: ContainerdName, node: Node, bin: string) {
    this.#name = name;
    this.node = node;
    this.#bin = bin;
    this.cri = new Cri(join(node.directory, "containerd.sock"), node.cgroup, join(node.directory, "logs"));
  }

  /** A node with containerd running and the image imported; no plugins and no network yet. */
  static async create(name: ContainerdName): Promise<Containerd> {
    const [containerd, runc] = [await program(name), await program("runc")];
    if (containerd.version === "" || runc.version === "") throw new Error(`${name} could not be had`);
    const bin = join(containerd.root, "usr/bin");
    const node = await Node.create([bin]);
    const self = new Containerd(name, node, bin);
    try {
      await writeFile(join(node.directory, "config.toml"), configuration(name, node, join(runc.root, "usr/sbin/runc")));
      await self.start();
      await self.importImage((await buildImage()).archive);
    } catch (error) {
      await self.remove();
      throw error;
    }
    return self;
  }

  /** Imports an image from an OCI archive. */
  async importImage(archive: string): Promise<void> {
    await this.node.exec("ctr", [
      ...["--address", join(this.node.directory, "containerd.sock"), "--namespace", "k8s.io", "images", "import"],
      /* containerd 2 would have a service of its own unpack it, which needs a configuration of its own. */
      ...["--snapshotter", "native", ...(this.#name === "containerd21" ? ["--local"] : []), archive],
    ]);
  }

  /** Starts containerd and waits until it answers. */
  async start(): Promise<void> {
    this.#daemon = await this.node.start("containerd", join(this.#bin, "containerd"), [
      ...["--config", join(this.node.directory, "config.toml"), "--log-level", "info"],
    ]);
    let last = "";
    for (let tries = 0; tries < 300; tries += 1) {
      const answer = await this.cri.version().catch((error: Error) => {
        last = error.message;
        return "";
      });
      if (answer !== "") return;
      await sleep(100);
    }
    throw new Error(`containerd does not answer: ${last}; see ${this.#daemon.logFile}`);
  }

  /** Kills containerd as the kernel kills a process that is out of memory. Pods go on. */
  async kill(): Promise<void> {
    if (this.#daemon !== null) await this.node.kill(this.#daemon);
    this.#daemon = null;
  }

  /** Cuts the power and boots again: no namespaces, no processes, the disk as it was. */
  async reboot(): Promise<void> {
    await this.node.powerOff();
    await this.node.boot();
    await this.start();
  }

  async remove(): Promise<void> {
    this.cri.close();
    await this.node.remove();
  }
}
