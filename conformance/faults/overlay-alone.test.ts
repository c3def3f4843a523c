/** vxlan-overlay under faults where it has bridge and host-local make the pod's interface, while its peers change. */
import { overlay } from "./subjects.ts";
import { describeFaults } from "./suite.ts";

describeFaults(overlay({ datapath: "gpe", delegate: true, cold: false }));
