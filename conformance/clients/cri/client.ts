/** A kubelet of the smallest kind: speaks to a runtime over the container runtime interface. */
import { join } from "node:path";
import { type Client, credentials, loadPackageDefinition, type ServiceError } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

export interface PortMapping {
  readonly protocol: "TCP" | "UDP" | "SCTP";
  readonly containerPort: number;
  readonly hostPort: number;
}

/** What a kubelet wants of a pod. */
export interface PodWish {
  readonly name: string;
  readonly ports?: readonly PortMapping[];
  readonly annotations?: Readonly<Record<string, string>>;
  /** In the node's own network, as what brings the network has to be. */
  readonly hostNetwork?: boolean;
}

/** What a kubelet wants of a container beyond its image: as an agent of the node has it, with as few rights as there are. */
export interface AgentWish {
  readonly image: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Paths in the container, and the node's that are mounted there. */
  readonly mounts: Readonly<Record<string, string>>;
}

export interface ContainerStatus {
  readonly running: boolean;
  readonly exitCode: number;
  /** The number of its process on the node; 0 if there is none. */
  readonly pid: number;
}

export interface PodStatus {
  readonly ready: boolean;
  /** All addresses, the first family first. */
  readonly addresses: readonly string[];
  /** The path of the pod's network namespace; empty if the runtime has forgotten it. */
  readonly netns: string;
  /** The number of its pause process on the node; 0 if there is none. */
  readonly pid: number;
}

interface StatusMessage {
  readonly status?: {
    readonly state: string;
    readonly network?: { readonly ip: string; readonly additionalIps: { ip: string }[] };
  };
  readonly info: Readonly<Record<string, string>>;
}

type Method = (
  request: unknown,
  options: { deadline: Date },
  callback: (error: ServiceError | null, answer: unknown) => void,
) => void;

export class Cri {
  readonly #client: Client;
  readonly #cgroupParent: string;
  readonly #logDirectory: string;

  /**
   * @param socket path of the runtime's socket
   * @param cgroup the control group for pods
   * @param logDirectory where containers' output goes
   */
  constructor(socket: string, cgroup: string, logDirectory: string) {
    const definition = loadPackageDefinition(
      loadSync(join(import.meta.dirname, "runtime.proto"), { enums: String, defaults: true }),
    );
    const Service = (
      definition as unknown as { runtime: { v1: { RuntimeService: new (...args: unknown[]) => Client } } }
    ).runtime.v1.RuntimeService;
    this.#client = new Service(`unix://${socket}`, credentials.createInsecure(), {
      "grpc.initial_reconnect_backoff_ms": 50,
      "grpc.min_reconnect_backoff_ms": 50,
      "grpc.max_reconnect_backoff_ms": 100,
    });
    this.#cgroupParent = `/${cgroup}`;
    this.#logDirectory = logDirectory;
  }

  close(): void {
    this.#client.close();
  }

  /** Calls a method; rejects with the runtime's words. */
  async #call<Answer>(method: string, request: unknown, seconds = 60): Promise<Answer> {
    const deadline = new Date(Date.now() + seconds * 1000);
    return new Promise((resolve, reject) => {
      const call = (this.#client as unknown as Record<string, Method>)[method];
      if (call === undefined) throw new Error(`runtime.proto has no ${method}`);
      call.call(this.#client, request, { deadline }, (error, answer) => {
        if (error === null) resolve(answer as Answer);
        else reject(new Error(`${method}: ${error.details || error.message}`));
      });
    });
  }

  async version(): Promise<string> {
    return (await this.#call<{ runtimeVersion: string }>("version", {}, 5)).runtimeVersion;
  }

  /** Whether the runtime finds its network ready, and its reason if not. */
  async network(): Promise<{ ready: boolean; message: string }> {
    const { status } = await this.#call<{
      status: { conditions: { type: string; status: boolean; message: string }[] };
    }>("status", {}, 5);
    const condition = status.conditions.find((entry) => entry.type === "NetworkReady");
    return { ready: condition?.status ?? false, message: condition?.message ?? "" };
  }

  /** Starts a pod; returns its ID. */
  async runPod(wish: PodWish): Promise<string> {
    const { podSandboxId } = await this.#call<{ podSandboxId: string }>("runPodSandbox", {
      config: this.#config(wish),
    });
    return podSandboxId;
  }

  async stopPod(id: string): Promise<void> {
    await this.#call("stopPodSandbox", { podSandboxId: id });
  }

  async removePod(id: string): Promise<void> {
    await this.#call("removePodSandbox", { podSandboxId: id });
  }

  /** What a kubelet does with a pod that is over. */
  async endPod(id: string): Promise<void> {
    await this.stopPod(id);
    await this.removePod(id);
  }

  async status(id: string): Promise<PodStatus> {
    const answer = await this.#call<StatusMessage>("podSandboxStatus", { podSandboxId: id, verbose: true });
    const network = answer.status?.network;
    const addresses = [network?.ip ?? "", ...(network?.additionalIps ?? []).map((entry) => entry.ip)];
    return {
      ready: answer.status?.state === "SANDBOX_READY",
      addresses: addresses.filter((address) => address !== ""),
      ...detailsOf(answer.info.info ?? "{}"),
    };
  }

  /** The IDs of all pods that the runtime knows, and whether each is running. */
  async pods(): Promise<Map<string, boolean>> {
    const { items } = await this.#call<{ items: { id: string; state: string }[] }>("listPodSandbox", {});
    return new Map(items.map((item) => [item.id, item.state === "SANDBOX_READY"]));
  }

  /** Starts a container with a command in a pod; returns its ID. */
  async runContainer(pod: string, wish: PodWish, image: string, command: readonly string[]): Promise<string> {
    const name = command.join("-").replaceAll(/[^a-z0-9]+/g, "-");
    const config = { metadata: { name }, image: { image }, command, logPath: `${name}.log` };
    const request = { podSandboxId: pod, config, sandboxConfig: this.#config(wish) };
    const { containerId } = await this.#call<{ containerId: string }>("createContainer", request);
    await this.#call("startContainer", { containerId });
    return containerId;
  }

  /** Starts a container without capabilities on a read-only root file system; returns its ID. */
  async runAgent(pod: string, wish: PodWish, name: string, agent: AgentWish): Promise<string> {
    const config = {
      metadata: { name },
      image: { image: agent.image },
      args: agent.args,
      envs: Object.entries(agent.env).map(([key, value]) => ({ key, value })),
      mounts: Object.entries(agent.mounts).map(([containerPath, hostPath]) => ({ containerPath, hostPath })),
      logPath: `${name}.log`,
      linux: {
        securityContext: {
          capabilities: { dropCapabilities: ["ALL"] },
          namespaceOptions: { network: wish.hostNetwork ? "NODE" : "POD" },
          readonlyRootfs: true,
          noNewPrivs: true,
        },
      },
    };
    const request = { podSandboxId: pod, config, sandboxConfig: this.#config(wish) };
    const { containerId } = await this.#call<{ containerId: string }>("createContainer", request);
    await this.#call("startContainer", { containerId });
    return containerId;
  }

  async containerStatus(containerId: string): Promise<ContainerStatus> {
    const { status, info } = await this.#call<{
      status: { state: string; exitCode: number };
      info: Readonly<Record<string, string>>;
    }>("containerStatus", { containerId, verbose: true });
    const { pid } = detailsOf(info.info ?? "{}");
    return { running: status.state === "CONTAINER_RUNNING", exitCode: status.exitCode, pid };
  }

  /** SIGTERM, and SIGKILL after as many seconds. */
  async stopContainer(containerId: string, timeout: number): Promise<void> {
    await this.#call("stopContainer", { containerId, timeout });
  }

  /** Runs a program in a container to its end. */
  async exec(
    containerId: string,
    cmd: readonly string[],
  ): Promise<{ exitCode: number; stdout: string; stderr: string }> {
    const answer = await this.#call<{ stdout: Buffer; stderr: Buffer; exitCode: number }>("execSync", {
      containerId,
      cmd,
      timeout: 10,
    });
    return { exitCode: answer.exitCode, stdout: answer.stdout.toString(), stderr: answer.stderr.toString() };
  }

  #config(wish: PodWish): unknown {
    return {
      metadata: { name: wish.name, uid: `uid-${wish.name}`, namespace: "default", attempt: 0 },
      hostname: wish.hostNetwork ? "" : wish.name,
      logDirectory: this.#logDirectory,
      portMappings: wish.ports ?? [],
      annotations: wish.annotations ?? {},
      linux: {
        cgroupParent: this.#cgroupParent,
        securityContext: { namespaceOptions: { network: wish.hostNetwork ? "NODE" : "POD" } },
      },
    };
  }
}

/** What a runtime tells of a pod beyond the interface, as JSON of its own making. */
function detailsOf(info: string): { netns: string; pid: number } {
  const detail = JSON.parse(info) as {
    pid?: number;
    runtimeSpec?: { linux?: { namespaces?: { type: string; path?: string }[] } };
  };
  const namespaces = detail.runtimeSpec?.linux?.namespaces ?? [];
  return { pid: detail.pid ?? 0, netns: namespaces.find((entry) => entry.type === "network")?.path ?? "" };
}
