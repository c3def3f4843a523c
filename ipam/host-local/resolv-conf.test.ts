import { expect, it } from "vitest";
import { parseResolvConf } from "./resolv-conf.ts";

it("reads what resolv.conf(5) says", () => {
  const text = `
# a comment
; another
nameserver 192.0.2.1
\tnameserver\tfd00::53  ignored
domain first.example
domain second.example\r
search a.example b.example
search c.example
options ndots:5 rotate
options edns0
unknown word
nameserver
#nameserver 192.0.2.9`;
  expect(parseResolvConf(text)).toEqual({
    nameservers: ["192.0.2.1", "fd00::53"],
    domain: "second.example",
    search: ["a.example", "b.example", "c.example"],
    options: ["ndots:5", "rotate", "edns0"],
  });
});

it("reads nothing from nothing", () => {
  expect(parseResolvConf("")).toEqual({ nameservers: [], domain: "", search: [], options: [] });
});
