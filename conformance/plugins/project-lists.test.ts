/** The lists of real projects, alone on a node and among the rules of other programs: every verb, and traffic. */
import { describe, expect, test } from "vitest";
import { expectSuccess, type JsonObject, type Netns } from "../../testbed/harness.ts";
import { iptables } from "./firewall-lab.ts";
import { remains } from "./node-filter.ts";
import { addressOf, type Node, withNode } from "./portmap-lab.ts";
import { PROJECT_LISTS, type ProjectList } from "./project-lists.ts";
import { BRIEFLY } from "./traffic.ts";

/** What runs on the node besides Podwire. */
const SURROUNDINGS: Readonly<Record<string, (node: Node) => Promise<unknown>>> = {
  nothing: async () => {},
  Docker: async (node) => {
    await iptables(node, "-P", "FORWARD", "DROP");
    await iptables(node, "-N", "DOCKER-USER");
    await iptables(node, "-A", "FORWARD", "-j", "DOCKER-USER");
    await iptables(node, "-A", "DOCKER-USER", "-j", "RETURN");
  },
  ufw: async (node) => {
    await iptables(node, "-N", "ufw-reject-forward");
    await iptables(node, "-A", "FORWARD", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT");
    await iptables(node, "-A", "FORWARD", "-j", "ufw-reject-forward");
    await iptables(node, "-A", "ufw-reject-forward", "-j", "REJECT");
  },
};

/** An attachment to a list: what a runtime does. */
class Attachment {
  result: JsonObject = {};
  readonly #node: Node;
  readonly #list: ProjectList;
  readonly #pod: Netns;

  constructor(node: Node, list: ProjectList, pod: Netns) {
    this.#node = node;
    this.#list = list;
    this.#pod = pod;
  }

  #config(plugin: JsonObject, cniVersion: string): JsonObject {
    const ipam = plugin.ipam as JsonObject | undefined;
    return {
      ...plugin,
      ...{ cniVersion, name: "pwt-project" },
      ...(ipam === undefined ? {} : { ipam: { ...ipam, dataDir: this.#node.sandbox.dataDir } }),
      ...(plugin.type === "tuning" ? { dataDir: `${this.#node.sandbox.directory}/tuning` } : {}),
      ...(plugin.type === "portmap"
        ? { runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80 }] } }
        : {}),
    };
  }

  async call(verb: string, plugin: JsonObject & { type: string }, more: JsonObject = {}, version?: string) {
    const config = { ...this.#config(plugin, version ?? this.#list.cniVersion), ...more };
    return this.#node.sandbox.call({
      ...{ plugin: plugin.type, command: verb, containerId: this.#pod.name, netns: this.#pod.path },
      ...{ ifname: plugin.type === "loopback" ? "lo" : "eth0", config },
    });
  }

  async add(): Promise<void> {
    for (const plugin of this.#list.plugins) {
      const more = Object.keys(this.result).length === 0 || plugin.type === "bridge" ? {} : { prevResult: this.result };
      const printed = expectSuccess(await this.call("ADD", plugin, more));
      /* Runtimes attach lo by a list of its own. */
      if (plugin.type !== "loopback") this.result = printed;
    }
  }

  /** A verb for each plugin, with the result; DEL in the opposite order. */
  async all(verb: string, more: JsonObject = {}, version?: string): Promise<void> {
    const { plugins } = this.#list;
    for (const plugin of verb === "DEL" ? plugins.toReversed() : plugins) {
      if (plugin.type !== "loopback") expectSuccess(await this.call(verb, plugin, more, version));
    }
  }

  get address(): string {
    const [ip] = (this.result.ips ?? []) as JsonObject[];
    return String(ip?.address).split("/")[0] ?? "";
  }
}

describe.each(PROJECT_LISTS)("$project's list", (list) => {
  const has = (type: string): boolean => list.plugins.some((plugin) => plugin.type === type);

  test.each(Object.keys(SURROUNDINGS))("beside %s: every verb, and whom a container reaches", (others) =>
    withNode({}, async (node) => {
      await node.traffic.serveAll(node.server, "server", 80);
      await SURROUNDINGS[others]?.(node);
      const pod = await node.namespace();
      const attachment = new Attachment(node, list, pod);
      await attachment.all("STATUS", {}, "1.1.0");
      await attachment.add();
      await node.traffic.serveAll(pod, "container", 80);
      const out = await node.ask(pod, addressOf("server", 4), 80, "tcp", BRIEFLY);
      const isOpen = others === "nothing" || has("firewall");
      expect(out.includes("server saw")).toBe(isOpen);
      expect(await node.ask(node.host, attachment.address, 80)).toMatch(/^container saw/);
      if (has("portmap")) {
        const published = await node.ask(node.client, addressOf("node", 4), 8080, "tcp", BRIEFLY);
        expect(published.includes("container saw")).toBe(others === "nothing");
        /* Nomad itself accepts what comes to its bridge. */
        if (list.project === "Nomad") {
          await node.host.exec("iptables", ["-I", "NOMAD-ADMIN", "-o", "nomad", "-j", "ACCEPT"]);
          expect(await node.ask(node.client, addressOf("node", 4), 8080)).toMatch(/^container saw/);
        }
      }
      const prevResult = attachment.result;
      if (list.cniVersion !== "0.3.1") await attachment.all("CHECK", { prevResult });
      const valid = [{ containerID: pod.name, ifname: "eth0" }];
      await attachment.all("GC", { "cni.dev/valid-attachments": valid }, "1.1.0");
      if (list.cniVersion !== "0.3.1") await attachment.all("CHECK", { prevResult });
      await attachment.all("DEL", { prevResult });
      expect((await remains(node)).filter((line) => !line.endsWith(".ingress-policy"))).toEqual([]);
    }),
  );
});

test("two containers of nerdctl's network meet, and those of another network do not", () =>
  withNode({}, async (node) => {
    const [nerdctl] = PROJECT_LISTS;
    if (nerdctl === undefined) throw new Error("no list");
    const other: ProjectList = {
      ...nerdctl,
      plugins: nerdctl.plugins.map((plugin) =>
        plugin.type === "bridge"
          ? { ...plugin, bridge: "br-other", ipam: { type: "host-local", ranges: [[{ subnet: "10.89.0.0/24" }]] } }
          : { ...plugin },
      ),
    };
    const first = await node.namespace();
    const second = await node.namespace();
    const third = await node.namespace();
    const withoutPorts = (list: ProjectList) => ({
      ...list,
      plugins: list.plugins.filter(({ type }) => type !== "portmap"),
    });
    const attachments = [
      new Attachment(node, withoutPorts(nerdctl), first),
      new Attachment(node, withoutPorts(nerdctl), second),
      new Attachment(node, withoutPorts(other), third),
    ];
    for (const attachment of attachments) await attachment.add();
    await node.traffic.serveAll(second, "second", 80);
    await node.traffic.serveAll(third, "third", 80);
    const [, near, far] = attachments;
    expect(await node.ask(first, near?.address ?? "", 80)).toMatch(/^second saw/);
    expect(await node.ask(first, far?.address ?? "", 80, "tcp", BRIEFLY)).not.toContain("saw");
  }));
