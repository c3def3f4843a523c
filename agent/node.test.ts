import { describe, expect, it } from "vitest";
import { type Json, parseJson } from "../lib/cni/json.ts";
import { FLANNEL_ANNOTATIONS, flannelAnnotations, noFlannelAnnotations } from "./flannel.ts";
import { addressOf, type ClusterNode, isNodeName, packNode, readNode, unpackNode } from "./node.ts";

const json = (value: unknown): Json => parseJson(new TextEncoder().encode(JSON.stringify(value)));

function nodeOf(object: unknown): ClusterNode {
  const node = readNode(json(object));
  if (node === null) throw new Error("no node");
  return node;
}

const WORKER = {
  metadata: { name: "worker-1", uid: "u1", resourceVersion: "12", annotations: {} },
  spec: { podCIDR: "10.244.1.0/24", podCIDRs: ["10.244.1.0/24", "fd00:10:244:1::/64"] },
  status: {
    addresses: [
      { type: "ExternalIP", address: "203.0.113.9" },
      { type: "InternalIP", address: "192.0.2.1" },
      { type: "InternalIP", address: "2001:db8::1" },
      { type: "Hostname", address: "worker-1" },
    ],
  },
};

describe("readNode", () => {
  it("keeps what the network needs, internal addresses first", () => {
    expect(readNode(json(WORKER))).toEqual({
      name: "worker-1",
      uid: "u1",
      podCidrs: ["10.244.1.0/24", "fd00:10:244:1::/64"],
      addresses: ["192.0.2.1", "2001:db8::1", "203.0.113.9"],
      flannel: null,
    });
  });

  it("takes podCIDR where there is no podCIDRs, and neither before they are given", () => {
    expect(nodeOf({ ...WORKER, spec: { podCIDR: "10.244.1.0/24" } }).podCidrs).toEqual(["10.244.1.0/24"]);
    expect(nodeOf({ ...WORKER, spec: {} }).podCidrs).toEqual([]);
    expect(nodeOf({ metadata: WORKER.metadata })).toMatchObject({ podCidrs: [], addresses: [] });
  });

  it.each([
    ["nothing", {}],
    ["no name", { metadata: { uid: "u" } }],
    ["a name that leads out of a directory", { metadata: { name: "../x" } }],
    ["a name that is no text", { metadata: { name: 7 } }],
    ["metadata that is no object", { metadata: [] }],
  ])("is null for %s", (_, object) => {
    expect(readNode(json(object))).toBeNull();
  });

  it("passes over members of wrong types and addresses that are none, and takes no more than sixteen", () => {
    const addresses = [{ type: "InternalIP", address: 7 }, 3, { type: "InternalIP", address: "worker" }];
    expect(nodeOf({ ...WORKER, spec: { podCIDRs: [1, null] }, status: { addresses } })).toMatchObject({
      podCidrs: [],
      addresses: [],
    });
    const many = Array.from({ length: 100 }, (_, i) => ({ type: "InternalIP", address: `192.0.2.${i}` }));
    const cidrs = Array.from({ length: 100 }, (_, i) => `10.0.${i}.0/24`);
    const node = nodeOf({ ...WORKER, spec: { podCIDRs: cidrs }, status: { addresses: many } });
    expect([node.addresses.length, node.podCidrs.length]).toEqual([16, 16]);
  });
});

it.each([
  ["a", true],
  ["node-1.example.org", true],
  ["", false],
  ["Node", false],
  ["a/b", false],
  ["a b", false],
  [".a", false],
  ["-a", false],
  ["a".repeat(254), false],
])("isNodeName(%j) is %s", (name, expected) => {
  expect(isNodeName(name)).toBe(expected);
});

describe("addressOf", () => {
  it("is the first of the IP version", () => {
    const node = nodeOf(WORKER);
    expect([addressOf(node, 4), addressOf(node, 6)]).toEqual(["192.0.2.1", "2001:db8::1"]);
    expect(addressOf({ ...node, addresses: ["192.0.2.1"] }, 6)).toBe("");
  });

  it("is the one that flannel has published, or a person has written over it", () => {
    const annotations = {
      "flannel.alpha.coreos.com/kube-subnet-manager": "true",
      "flannel.alpha.coreos.com/backend-type": "host-gw",
      "flannel.alpha.coreos.com/public-ip": "198.51.100.1",
    };
    const node = (more: object) =>
      nodeOf({ ...WORKER, metadata: { ...WORKER.metadata, annotations: { ...annotations, ...more } } });
    expect(addressOf(node({}), 4)).toBe("198.51.100.1");
    expect(addressOf(node({ "flannel.alpha.coreos.com/public-ip-overwrite": "198.51.100.2" }), 4)).toBe("198.51.100.2");
    expect(addressOf(node({ "flannel.alpha.coreos.com/public-ip": "nonsense" }), 4)).toBe("192.0.2.1");
    expect(addressOf(node({}), 6)).toBe("2001:db8::1");
  });
});

describe("flannel's annotations", () => {
  const read = (annotations: object) => nodeOf({ metadata: { name: "a", annotations } }).flannel;

  it("are read as flanneld writes them", () => {
    expect(
      read({
        "flannel.alpha.coreos.com/backend-data": '{"VNI":1,"VtepMAC":"5a:e2:ee:a4:b0:83"}',
        "flannel.alpha.coreos.com/backend-v6-data": '{"VNI":1,"VtepMAC":"a2:d3:26:ef:04:48"}',
        "flannel.alpha.coreos.com/backend-type": "vxlan",
        "flannel.alpha.coreos.com/kube-subnet-manager": "true",
        "flannel.alpha.coreos.com/public-ip": "192.0.2.7",
        "flannel.alpha.coreos.com/public-ipv6": "2001:db8::7",
      }),
    ).toEqual({
      backend: "vxlan",
      address: "192.0.2.7",
      address6: "2001:db8::7",
      vxlan: { vni: 1, mac: "5a:e2:ee:a4:b0:83", mac6: "a2:d3:26:ef:04:48" },
    });
  });

  it.each([
    ["no mark of flannel", {}, null],
    ["a mark that says no", { "flannel.alpha.coreos.com/kube-subnet-manager": "false" }, null],
  ])("are none with %s", (_, annotations, expected) => {
    expect(read(annotations)).toBe(expected);
  });

  it.each(["", "null", "no JSON", "[]", '{"VNI":"x"}', '{"VNI":0}', '{"VNI":16777216}'])(
    "have no tunnel with the data %j",
    (data) => {
      const marks = {
        "flannel.alpha.coreos.com/kube-subnet-manager": "true",
        "flannel.alpha.coreos.com/backend-type": "vxlan",
      };
      expect(read({ ...marks, "flannel.alpha.coreos.com/backend-data": data })?.vxlan).toBeNull();
    },
  );

  it("of this node are read back as they were meant", () => {
    const published = { vni: 7, mac: "0e:f4:c0:00:02:01", address: "192.0.2.1", address6: "" };
    const annotations = flannelAnnotations(published);
    for (const one of [annotations, noFlannelAnnotations()]) {
      expect(one.keys.every((key) => FLANNEL_ANNOTATIONS.includes(key))).toBe(true);
    }
    const node = readNode(json({ metadata: { name: "a" } }));
    expect(node?.flannel).toBeNull();
    const own = json({ metadata: { name: "a" } });
    own.get("metadata")?.with("annotations", annotations);
    expect(readNode(own)?.flannel).toEqual({
      backend: "vxlan",
      address: "192.0.2.1",
      address6: "",
      vxlan: { vni: 7, mac: "0e:f4:c0:00:02:01", mac6: "" },
    });
  });
});

describe("packNode", () => {
  it("keeps all of a node", () => {
    const flannel = { backend: "vxlan", address: "192.0.2.7", address6: "", vxlan: null };
    const node = { name: "a", uid: "u", podCidrs: ["10.244.1.0/24", "fd00::/64"], addresses: [], flannel: null };
    const vxlan = { vni: 7, mac: "5a:e2:ee:a4:b0:83", mac6: "" };
    for (const one of [node, { ...node, flannel }, { ...node, flannel: { ...flannel, vxlan } }])
      expect(unpackNode("a", packNode(one))).toEqual(one);
  });
});
