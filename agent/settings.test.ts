import { describe, expect, it } from "vitest";
import { readConfig } from "../lib/cni/config.ts";
import { formatJson } from "../lib/cni/json.ts";
import { CniError } from "../lib/errors.ts";
import { isRendered } from "../lib/install/conflist.ts";
import { formatPrefixes } from "../lib/ip/address.ts";
import { readOverlayConfig } from "../plugins/vxlan-overlay/config.ts";
import { conflist, overlayConfiguration } from "./conflist.ts";
import { misfit, type NetworkSettings, readSettings } from "./settings.ts";

const read = (value: unknown): NetworkSettings =>
  readSettings(
    new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value)),
    "/etc/podwire/network.json",
  );
const CIDRS = { clusterCIDRs: ["10.244.0.0/16", "fd00:10:244::/56"] };
const POD_CIDRS = ["10.244.1.0/24", "fd00:10:244:1::/64"];
const PEERS = "/run/podwire/agent/peers.ndjson";

function problem(value: unknown): string {
  try {
    read(value);
  } catch (error) {
    if (error instanceof CniError) return error.message;
    throw error;
  }
  return "";
}

describe("readSettings", () => {
  it("needs the networks of all pods alone", () => {
    const settings = read(CIDRS);
    expect(formatPrefixes(settings.clusterCidrs)).toEqual(CIDRS.clusterCIDRs);
    expect(settings).toMatchObject({
      ...{ network: "podwire", datapath: "classic", vni: 1, port: 8472, directRouting: false, mtu: 0 },
      ...{ masquerade: true, firewall: true, flannelAnnotations: false, startupTaint: "", underlay: "" },
    });
  });

  it.each([
    [{}, 'invalid value for "clusterCIDRs": expected the networks of all pods'],
    [{ ...CIDRS, clusterCIDRs: ["10.244.0.0"] }, 'invalid value for "clusterCIDRs[0]"'],
    [
      { ...CIDRS, clusterCidrs: [] },
      'invalid value for "clusterCidrs": there is no such setting; there are network, clusterCIDRs',
    ],
    [{ ...CIDRS, network: "a b" }, 'invalid value for "network"'],
    [{ ...CIDRS, datapath: "ipip" }, 'invalid value for "datapath": unrecognized "ipip": expected "classic" or "gpe"'],
    [{ ...CIDRS, vni: 0 }, 'invalid value for "vni"'],
    [{ ...CIDRS, mtu: 100 }, 'invalid value for "mtu": 100 is less than 1280'],
    [{ ...CIDRS, masquerade: "yes" }, 'invalid value for "masquerade"'],
    ["{", "/etc/podwire/network.json is not JSON"],
    ["[]", "/etc/podwire/network.json is no JSON object"],
  ])("refuses %j", (value, expected) => {
    expect(problem(value)).toContain(expected);
  });
});

describe("misfit", () => {
  it("says which networks of a node are not the cluster's", () => {
    const settings = read(CIDRS);
    expect(misfit(settings, POD_CIDRS)).toBe("");
    expect(misfit(settings, ["10.9.0.0/24"])).toContain("podCIDR 10.9.0.0/24 is in none of the settings' clusterCIDRs");
    expect(misfit(settings, ["10.0.0.0/8"])).toContain("is in none");
    expect(misfit(settings, ["x"])).toBe('podCIDR "x" is no network');
  });
});

describe("the list of plugins", () => {
  const settings = read({
    ...CIDRS,
    mtu: 1400,
    datapath: "gpe",
    nonMasqueradeCIDRs: ["192.168.0.0/16"],
    underlay: "eth1",
  });

  it("has the overlay that the agent reconciles", () => {
    const list = JSON.parse(conflist(settings, POD_CIDRS, PEERS, "2.1.0"));
    const own = JSON.parse(formatJson(overlayConfiguration(settings, POD_CIDRS, PEERS)));
    const [overlay, portmap, bandwidth] = list.plugins;
    expect({ cniVersion: "1.0.0", name: "podwire", ...overlay, delegate: undefined }).toEqual({
      ...own,
      delegate: undefined,
    });
    expect([portmap.type, bandwidth.type]).toEqual(["portmap", "bandwidth"]);
    expect(overlay.delegate.ipam.ranges).toEqual([[{ subnet: POD_CIDRS[0] }], [{ subnet: POD_CIDRS[1] }]]);
  });

  it("is one that the plugin takes, and that is ours", () => {
    const text = formatJson(overlayConfiguration(settings, POD_CIDRS, PEERS));
    expect(readOverlayConfig(readConfig(new TextEncoder().encode(text)))).toMatchObject({
      ...{ network: "podwire", mtu: 1400, datapath: "gpe", underlay: "eth1", masquerade: true, firewall: true },
    });
    expect(isRendered(conflist(settings, POD_CIDRS, PEERS, "2.1.0"))).toBe(true);
  });

  it("has one set of ranges on a node with one network", () => {
    const list = JSON.parse(conflist(settings, ["10.244.1.0/24"], PEERS, "2.1.0"));
    expect(list.plugins[0].delegate.ipam.ranges).toEqual([[{ subnet: "10.244.1.0/24" }]]);
  });
});
