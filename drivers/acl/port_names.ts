/**
 * The names that devices print for ports instead of numbers. A name may mean different ports to different
 * vendors and protocols, so each has its own table.
 *
 * @module
 */

/** Vendors with a table of their own. */
export type Vendor = "cisco" | "arista" | "force10" | "foundry" | "juniper";

// Cisco IOS and NX-OS: `permit tcp any any eq ?`.
const CISCO_TCP = `bgp 179 chargen 19 cmd 514 daytime 13 discard 9 domain 53 drip 3949 echo 7
  exec 512 finger 79 ftp 21 ftp-data 20 gopher 70 hostname 101 ident 113 irc 194 klogin 543
  kshell 544 login 513 lpd 515 msrpc 135 nntp 119 onep-plain 15001 onep-tls 15002 pim-auto-rp 496
  pop2 109 pop3 110 smtp 25 sunrpc 111 syslog 514 tacacs 49 tacacs-ds 63 talk 517 telnet 23 time 37
  uucp 540 whois 43 www 80 ssh 22 http 80 https 443 snmp 161 bootpc 68 bootps 67 isakmp 500`;
const CISCO_UDP = `biff 512 bootpc 68 bootps 67 discard 9 dnsix 195 domain 53 echo 7 isakmp 500
  mobile-ip 434 nameserver 42 netbios-dgm 138 netbios-ns 137 netbios-ss 139 non500-isakmp 4500
  ntp 123 pim-auto-rp 496 rip 520 ripv6 521 snmp 161 snmptrap 162 sunrpc 111 syslog 514 tacacs 49
  tacacs-ds 63 talk 517 tftp 69 time 37 who 513 xdmcp 177`;

// Arista EOS knows most names of IANA; these are the ones of its default lists and of common services.
const ARISTA = `acap 674 acr-nema 104 afpovertcp 548 arns 384 asip-webadmin 311 at-rtmp 201
  aurp 387 auth 113 bfd 3784 bfd-echo 3785 bftp 152 bgmp 264 bgp 179 bootpc 68 bootps 67
  chargen 19 cisco-tdp 711 citadel 504 clearcase 371 cmd 514 commerce 542 courier 530 csnet-ns 105
  cvx 9979 cvx-cluster 9978 cvx-license 3333 daytime 13 dhcpv6-client 546 dhcpv6-server 547
  dhcp-failover2 847 discard 9 dnsix 90 domain 53 dsp 33 echo 7 efs 520 epp 700 esro-gen 259
  exec 512 finger 79 ftp 21 ftp-data 20 ftps 990 ftps-data 989 godi 848 gopher 70 gtp-c 2123
  gtp-u 2152 ha-cluster 694 hostname 101 hp-alarm-mgr 383 http 80 http-alt 591 http-mgmt 280
  http-rpc-epmap 593 https 443 ident 113 ieee-mms-ssl 695 imap 143 imap3 220 imaps 993 ipp 631
  ipx 213 irc 194 irc-serv 529 iscsi 860 isi-gl 55 iso-tsap 102 isakmp 500 kerberos 88
  kerberos-adm 749 klogin 543 kpasswd 464 kshell 544 la-maint 51 lanz 50001 ldap 389 ldaps 636 ldp 646
  lmp 701 lpd 515 login 513 mac-srvr-admin 660 matip-type-a 350 matip-type-b 351 micromuse-lm 1534
  microsoft-ds 445 mlag 4432 mobile-ip 434 mpp 218 ms-sql-m 1434 ms-sql-s 1433 msdp 639 msexch-routing 691
  msg-icp 29 msg-auth 31 msp 18 msrpc 135 multihop-bfd 4784 nameserver 42 nas 991 nat 3022
  ncp 524 netbios-dgm 138 netbios-ns 137 netbios-ssn 139 netrjs-1 71 netrjs-2 72 netrjs-3 73
  netrjs-4 74 netwnm 729 new-rwho 550 nfs 2049 nntp 119 nntps 563 non500-isakmp 4500 ntp 123
  odmr 366 olsr 698 opc-job-start 423 opc-job-track 424 openvpn 1194 openflow 6633 pim-auto-rp 496
  pip 321 pop2 109 pop3 110 pop3s 995 ptp-event 319 ptp-general 320 print-srv 170 pptp 1723
  qmtp 209 qotd 17 radius 1812 radius-acct 1813 re-mail-ck 50 remotefs 556 repcmd 641 rip 520
  rje 5 rlp 39 rlzdbase 635 rmc 657 rmonitor 560 rpc2portmap 369 rsync 873 rtelnet 107 rtsp 554
  sgmp 153 silc 706 smtp 25 smux 199 snagas 108 snmp 161 snmptrap 162 snpp 444 sqlserv 118
  sqlsrv 156 ssh 22 submission 587 sunrpc 111 svrloc 427 syslog 514 systat 11 tacacs 49 talk 517
  tbrpf 712 tcpmux 1 tcpnethaspsrv 475 telnet 23 tftp 69 time 37 timed 525 tunnel 604 ups 401
  uucp 540 uucp-path 117 vmnet 175 vxlan 4789 whois 43 who 513 www 80 xdmcp 177 xns-ch 54
  xns-mail 58 xns-time 52 z39-50 210`;

// Force10 FTOS and Dell OS9 print the names of IOS for what they name.
const FORCE10 = `snmptrap 162`;

const FOUNDRY_TCP = `bgp 179 dns 53 ftp 21 ftp-data 20 http 80 imap4 143 ldap 389 nntp 119 pop2 109
  pop3 110 smtp 25 ssh 22 ssl 443 telnet 23 tacacs 49 www 80 rtsp 554 mms 1755 pnm 7070
  bootpc 68 bootps 67`;
const FOUNDRY_UDP = `bootpc 68 bootps 67 dns 53 dnsix 195 echo 7 mobile-ip 434 netbios-dgm 138
  netbios-ns 137 ntp 123 radius 1812 radius-old 1645 rip 520 snmp 161 snmp-trap 162 syslog 514
  tacacs 49 talk 517 tftp 69 time 37 who 513 xdmcp 177`;

const JUNIPER =
  `afs 1483 bgp 179 biff 512 bootpc 68 bootps 67 cmd 514 cvspserver 2401 dhcp 67 domain 53
  eklogin 2105 ekshell 2106 exec 512 finger 79 ftp 21 ftp-data 20 http 80 https 443 ident 113
  imap 143 kerberos-sec 88 klogin 543 kpasswd 761 krb-prop 754 krbupdate 760 kshell 544 ldap 389
  ldp 646 login 513 mobileip-agent 434 mobilip-mn 435 msdp 639 netbios-dgm 138 netbios-ns 137
  netbios-ssn 139 nfsd 2049 nntp 119 ntalk 518 ntp 123 pop3 110 pptp 1723 printer 515 radacct 1813
  radius 1812 rip 520 rkinit 2108 smtp 25 snmp 161 snmptrap 162 snpp 444 socks 1080 ssh 22
  sunrpc 111 syslog 514 tacacs 49 tacacs-ds 65 talk 517 telnet 23 tftp 69 timed 525 who 513
  xdmcp 177`;

const TABLES: Readonly<Record<Vendor, { tcp: Map<string, number>; udp: Map<string, number> }>> = {
  cisco: { tcp: table(CISCO_TCP), udp: table(CISCO_UDP) },
  arista: { tcp: table(ARISTA), udp: table(ARISTA) },
  force10: { tcp: table(CISCO_TCP, FORCE10), udp: table(CISCO_UDP, FORCE10) },
  foundry: { tcp: table(CISCO_TCP, FOUNDRY_TCP), udp: table(CISCO_UDP, FOUNDRY_UDP) },
  juniper: { tcp: table(JUNIPER), udp: table(JUNIPER) },
};

/**
 * The port that a device's word means, or undefined when it is no port.
 *
 * @param word a number or a name, as printed.
 */
export function portOf(word: string, proto: string, vendor: Vendor): number | undefined {
  if (/^(0|[1-9][0-9]{0,4})$/.test(word)) {
    const port = Number(word);
    return port <= 65535 ? port : undefined;
  }
  return TABLES[vendor][proto === "udp" ? "udp" : "tcp"].get(word);
}

/** True when a device may print a name for this port. */
export function hasName(port: number, proto: string, vendor: Vendor): boolean {
  return TABLES[vendor][proto === "udp" ? "udp" : "tcp"].values().some((named) => named === port);
}

function table(...lists: string[]): Map<string, number> {
  const result = new Map<string, number>();
  for (const list of lists) {
    const words = list.split(/\s+/);
    for (let i = 0; i + 1 < words.length; i += 2) {
      result.set(words[i] as string, Number(words[i + 1]));
    }
  }
  return result;
}
