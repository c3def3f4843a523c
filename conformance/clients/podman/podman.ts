/** podman with the CNI backend on a node of its own: configuration, storage, image and networks. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { AGENT, buildImage, IMAGE } from "../image.ts";
import { Node, type Outcome, sleep } from "../node.ts";
import { librariesOf, type Program, program } from "../programs.ts";
import { installSuite, type Suite } from "../suites.ts";
import { traces } from "../traces.ts";

/** The port that a container's server listens on. */
export const SERVER_PORT = 8080;

/** Why podman cannot be run with a suite; empty if it can. */
export async function whatIsMissing(suite: Suite): Promise<string> {
  for (const name of ["podman", "runc"] as const)
    if ((await program(name)).version === "") return `${name} could not be had`;
  return suite.directory === "" ? `the plugins (${suite.name}) could not be had` : "";
}

/** containers.conf: everything in the node's directory, and nothing that would have to be there on the machine. */
function configuration(node: Node, podman: Program, runc: string): string {
  return `[containers]
log_driver = "k8s-file"
seccomp_profile = "unconfined"
apparmor_profile = "unconfined"
[network]
network_backend = "cni"
cni_plugin_dirs = ["${node.bin}"]
network_config_dir = "${node.confDir}"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
conmon_path = ["${podman.root}/usr/bin/conmon"]
conmon_env_vars = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LD_LIBRARY_PATH=${librariesOf(podman)}"]
runtime = "runc"
tmp_dir = "/run/libpod"
static_dir = "${node.disk}/libpod"
volume_path = "${node.disk}/volumes"
[engine.runtimes]
runc = ["${runc}"]
`;
}

export class Podman {
  readonly node: Node;
  readonly #agent: string;
  readonly #environment: readonly string[];
  readonly #suite: Suite;
  readonly #ids: string[] = [];

  private constructor(node: Node, agent: string, environment: readonly string[], suite: Suite) {
    this.node = node;
    this.#agent = agent;
    this.#environment = environment;
    this.#suite = suite;
  }

  /** A node with podman, its image and the networks "one" (IPv4) and "two" (both families). */
  static async create(suite: Suite): Promise<Podman> {
    const [podman, runc] = [await program("podman"), await program("runc")];
    const { agent, archive } = await buildImage();
    const node = await Node.create([join(podman.root, "usr/bin"), join(runc.root, "usr/sbin")]);
    const home = join(node.directory, "home/.config/containers");
    const environment = [
      `CONTAINERS_CONF=${join(home, "containers.conf")}`,
      `CONTAINERS_STORAGE_CONF=${join(home, "storage.conf")}`,
      `LD_LIBRARY_PATH=${librariesOf(podman)}`,
    ];
    const self = new Podman(node, agent, environment, suite);
    try {
      await mkdir(home, { recursive: true });
      await writeFile(join(home, "policy.json"), JSON.stringify({ default: [{ type: "insecureAcceptAnything" }] }));
      await writeFile(join(home, "containers.conf"), configuration(node, podman, join(runc.root, "usr/sbin/runc")));
      const storage = `[storage]\ndriver = "vfs"\ngraphroot = "${node.disk}/storage"\nrunroot = "/run/storage"\n`;
      await writeFile(join(home, "storage.conf"), storage);
      await installSuite(node, suite);
      await self.exec("load", "--quiet", "--input", archive);
      await self.exec("network", "create", "--subnet", "10.77.0.0/24", "one");
      await self.exec("network", "create", "--ipv6", "--subnet", "10.78.0.0/24", "--subnet", "fd00:78::/64", "two");
    } catch (error) {
      await node.remove();
      throw error;
    }
    return self;
  }

  /** Runs `podman ARGS`; its failure is the caller's to judge. */
  async run(...args: string[]): Promise<Outcome> {
    return this.node.run("env", [...this.#environment, "podman", ...args]);
  }

  /** Runs `podman ARGS`, which have to succeed; returns what it prints. */
  async exec(...args: string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.run(...args);
    if (exitCode !== 0) throw new Error(`podman ${args.join(" ")}: ${exitCode}: ${stderr || stdout}`);
    return stdout.trim();
  }

  /** Starts a container with a server in it. */
  async serve(name: string, ...options: string[]): Promise<void> {
    const group = `--cgroup-parent=/${this.node.cgroup}`;
    const words = ["--detach", group, "--name", name, ...options, IMAGE, "serve", String(SERVER_PORT)];
    this.#ids.push(await this.exec("run", ...words));
  }

  /** Removes containers. */
  async remove(...names: string[]): Promise<void> {
    await this.exec("rm", "--force", "--time", "0", ...names);
  }

  /** The addresses of a container in a network, by what podman says; the IPv4 one first. */
  async addresses(name: string, network: string): Promise<string[]> {
    const text = await this.exec("inspect", "--format", "{{json .NetworkSettings.Networks}}", name);
    const networks = JSON.parse(text) as Record<string, { IPAddress: string; GlobalIPv6Address: string }>;
    const found = networks[network];
    return [found?.IPAddress ?? "", found?.GlobalIPv6Address ?? ""].filter((address) => address !== "");
  }

  /**
   * Asks a server, ten times if need be; returns the address it saw, or the complaint.
   * @param name the container to ask from, null for the node
   */
  async ask(name: string | null, address: string, port: number): Promise<string> {
    const words = ["ask", address, String(port)];
    let complaint = "";
    for (let tries = 0; tries < 10; tries += 1) {
      const answer =
        name === null ? await this.node.run(this.#agent, words) : await this.run("exec", name, AGENT, ...words);
      if (answer.exitCode === 0) return answer.stdout;
      complaint = answer.stderr;
      await sleep(100);
    }
    return complaint;
  }

  /** What is left of all containers; but for what is known of the reference, see the container runtime's suites. */
  async left(): Promise<string[]> {
    let found: string[] = [];
    for (let tries = 0; tries < 50; tries += 1) {
      found = await traces(this.node, { ids: this.#ids });
      if (this.#suite.kind === "reference") found = found.filter((line) => !/jump CNI-/.test(line));
      if (found.length === 0) break;
      await sleep(20);
    }
    return found;
  }
}
