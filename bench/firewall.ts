/** firewall, alone and in nerdctl's whole list: what a container of nerdctl's default network costs. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Suite } from "./calls.ts";
import { addFaster, makeNamespaces, measure, outputOf, type Pair, variants } from "./measure.ts";

const PODS = 50;
const NAME = "firewall";

const bridge = (suite: Suite) => ({
  ...{ cniVersion: "1.0.0", name: NAME, type: "bridge", bridge: "nerdctl0", isGateway: true },
  ...{ ipMasq: true, hairpinMode: true },
  ipam: {
    ...{ type: "host-local", dataDir: join(suite.state, NAME), routes: [{ dst: "0.0.0.0/0" }] },
    ranges: [[{ subnet: "10.64.0.0/16" }], [{ subnet: "fd64::/64" }]],
  },
});

const printed = (suite: Suite, verb: string, index: number): object =>
  JSON.parse(readFileSync(outputOf(suite, verb, index), "utf8"));

/** The plugins of nerdctl's network; each container has a port. */
function listOf(suite: Suite, index: number): (Record<string, unknown> & { readonly type: string })[] {
  const common = { cniVersion: "1.0.0", name: NAME };
  const portMappings = [{ hostPort: 20_000 + index, containerPort: 80, protocol: "tcp" }];
  return [
    bridge(suite),
    { ...common, type: "portmap", capabilities: { portMappings: true }, runtimeConfig: { portMappings } },
    { ...common, type: "firewall", ingressPolicy: "same-bridge" },
    { ...common, type: "tuning", dataDir: join(suite.state, "tuned") },
  ];
}

/** The policy is same-bridge, as in nerdctl's network; pods have addresses of both IP versions. */
export async function benchFirewall(pair: Pair): Promise<void> {
  const suites = variants(pair, NAME);
  await makeNamespaces(suites, PODS);
  const pod = (suite: Suite, index: number) => ({ containerId: `bench-${index}`, pod: `${suite.name}-${index}` });
  const attach = (suite: Suite, index: number) => ({
    ...{ plugin: "bridge", verb: "ADD", config: bridge(suite) },
    ...pod(suite, index),
  });
  await measure(suites, PODS, attach);
  const attached = new Map<string, object>();
  for (const suite of suites) {
    for (let index = 0; index < PODS; index += 1) attached.set(`${suite.name} ${index}`, printed(suite, "ADD", index));
  }
  const make = (verb: string) => (suite: Suite, index: number) => ({
    ...{ plugin: "firewall", verb },
    config: { ...listOf(suite, index)[2], prevResult: attached.get(`${suite.name} ${index}`) },
    ...pod(suite, index),
  });
  for (const verb of ["ADD", "CHECK", "DEL"]) {
    addFaster(`firewall, same-bridge, both IP versions ${verb}`, suites, await measure(suites, PODS, make(verb)));
  }
}

/** The sums over the list's plugins of each container's times. */
export async function benchNerdctl(pair: Pair): Promise<void> {
  const suites = variants(pair, "nerdctl");
  await makeNamespaces(suites, PODS);
  const results = new Map<string, object>();
  for (const verb of ["ADD", "DEL"]) {
    const sums = new Map<string, number[]>();
    for (const place of verb === "ADD" ? [0, 1, 2, 3] : [3, 2, 1, 0]) {
      const times = await measure(suites, PODS, (suite, index) => {
        const config = listOf(suite, index)[place];
        const prevResult = results.get(`${suite.name} ${index}`);
        return {
          ...{ plugin: config?.type ?? "", verb, containerId: `bench-${index}`, pod: `${suite.name}-${index}` },
          config: { ...config, ...(prevResult === undefined ? {} : { prevResult }) },
        };
      });
      for (const suite of suites) {
        const before = sums.get(suite.name) ?? [];
        sums.set(
          suite.name,
          (times.get(suite.name) ?? []).map((time, index) => time + (before[index] ?? 0)),
        );
        if (verb === "DEL") continue;
        for (let index = 0; index < PODS; index += 1)
          results.set(`${suite.name} ${index}`, printed(suite, "ADD", index));
      }
    }
    addFaster(`nerdctl's list: bridge + portmap + firewall + tuning ${verb}`, suites, sums);
  }
}
