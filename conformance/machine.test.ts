/** The comparison of the machine before and after a run: what is left of ours fails it, what others do is told. */
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { repository } from "../testbed/call.ts";
import { rulesOf } from "../testbed/machine.ts";

/** A process that has ended: no test's that is under way. */
const DEAD = 4_194_305;

/** A whole run on a machine of its own, before which and during which commands are run. What it said, and how it ended. */
async function run(earlier: string, meanwhile: string): Promise<{ failed: boolean; said: string }> {
  const script = [
    `import { setup, teardown } from ${JSON.stringify(join(repository, "conformance/machine-state.ts"))};`,
    'import { execFileSync } from "node:child_process";',
    "await setup();",
    'execFileSync("sh", ["-ec", process.argv[1]]);',
    "await teardown();",
  ].join("\n");
  const furnished = `mount -t tmpfs tmpfs /run\nmkdir /run/podwire\n${earlier}\nexec "$@"`;
  const { exitCode, all } = await execa(
    "unshare",
    [
      ...["--net", "--mount", "--propagation", "private", "--", "sh", "-ec", furnished, "sh"],
      ...[process.execPath, "--input-type=module", "-e", script, meanwhile],
    ],
    { reject: false, all: true, env: { PODWIRE_SHARED_MACHINE: "" } },
  );
  return { failed: exitCode !== 0, said: all };
}

const FILTER = "nft 'add table inet filter; add chain inet filter input { type filter hook input priority 0; }'";
const OWN_TABLE = "nft 'add table inet podwire; add set inet podwire pods4 { type ipv4_addr; }'";

describe("what others do during a run is told, and no failure", () => {
  test.each([
    ["namespaces: new: a-container", "true", "ip netns add a-container"],
    ["namespaces: gone: a-container", "ip netns add a-container", "ip netns del a-container"],
    ["links: new: docker0", "true", "ip link add docker0 type bridge"],
    ["links: new: veth1a2b3c4", "true", "ip link add veth1a2b3c4 type veth peer name p"],
    ["links: gone: docker0", "ip link add docker0 type bridge", "ip link del docker0"],
    ["links: new: lo 00:00:00:00:00:00 LOOPBACK,UP", "true", "ip link set lo up"],
    ["rules: new: inet filter", "true", FILTER],
    ["rules: gone: inet filter", FILTER, "nft flush ruleset"],
    ["rules: new: ip nat DOCKER", "true", "iptables -t nat -N DOCKER"],
    ["entries: new: .*docker0", "true", "ip link add docker0 type bridge"],
  ])("%s", async (line, earlier, meanwhile) => {
    const { failed, said } = await run(earlier, meanwhile);
    expect(said).toMatch(new RegExp(`not a failure: others changed the machine.*\n(  .*\n)*  ${line}`));
    expect(failed, said).toBe(false);
  });
});

describe("what is Podwire's or a test's fails it", () => {
  const namespace = `pwt-${DEAD}-pod-1-a`;
  test.each([
    [`namespaces: new: ${namespace}`, "true", `ip netns add ${namespace}`],
    ["links: new: cni0", "true", "ip link add cni0 type bridge"],
    ["links: new: veth0123456789a", "true", "ip link add veth0123456789a type veth peer name p"],
    [
      "links: new: x .* podwire net c eth0",
      "true",
      "ip link add x type bridge; ip link set x alias 'podwire net c eth0'",
    ],
    ["links: gone: cni0", "ip link add cni0 type bridge", "ip link del cni0"],
    ["rules: new: inet podwire", "true", OWN_TABLE],
    ["rules: new: bridge podwire-firewall", "true", "nft 'add table bridge podwire-firewall'"],
    ["rules: gone: inet podwire pods4", OWN_TABLE, "nft flush ruleset"],
    ["rules: new: ip nat CNI-HOSTPORT-DNAT", "true", "iptables -t nat -N CNI-HOSTPORT-DNAT"],
    [
      "rules: new: ip nat PREROUTING: .*CNI-HOSTPORT-DNAT",
      "iptables -t nat -N CNI-HOSTPORT-DNAT",
      "iptables -t nat -A PREROUTING -j CNI-HOSTPORT-DNAT",
    ],
    ["entries: new: .*10.9.0.0/24", "ip link set lo up", "ip route add 10.9.0.0/24 dev lo proto 112"],
    ["files: new: net-1", "true", "mkdir /run/podwire/net-1"],
  ])("%s", async (line, earlier, meanwhile) => {
    const { failed, said } = await run(earlier, meanwhile);
    expect(said).toMatch(new RegExp(`the test run changed the machine:\n(  .*\n)*  ${line}`));
    expect(failed, said).toBe(true);
  });

  test("also where others changed something as well, which is told apart", async () => {
    const { failed, said } = await run("true", `ip netns add other; ip netns add ${namespace}`);
    expect(said).toMatch(/others changed the machine.*\n {2}namespaces: new: other\n/);
    expect(said).toMatch(new RegExp(`the test run changed the machine:\n {2}namespaces: new: ${namespace}`));
    expect(failed).toBe(true);
  });
});

test("a line of a ruleset is told with its table and chain", () => {
  const text = ["table ip nat {", "\tchain CNI-DN-1 {", "\t\ttcp dport 80 dnat to 10.1.0.2", "\t}", "}"];
  expect(rulesOf([...text, "table ip podwired {", "}"])).toEqual([
    { text: "ip nat", ours: false },
    { text: "ip nat CNI-DN-1", ours: true },
    { text: "ip nat CNI-DN-1: tcp dport 80 dnat to 10.1.0.2", ours: true },
    { text: "ip podwired", ours: false },
  ]);
});
