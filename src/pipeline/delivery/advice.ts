/** What an operator does about a receiver that takes nothing, by the reason a sink gave. */
export function adviceFor(reason: string): string {
  for (const [pattern, advice] of ADVICE) if (pattern.test(reason)) return advice;
  return 'See what the receiver says: its address, the rights, or the place records go to (index, topic, stream, bucket) may be wrong.';
}

const ADVICE: readonly (readonly [RegExp, string])[] = [
  [/ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH/, 'Start the receiver, or correct its host and port.'],
  [/TLS:/, 'Set tls.ca to the receiver’s certificate authority, or call it by the name in its certificate.'],
  [/credentials/, 'Correct the credentials of the sink.'],
  [/token or header/, 'Look for line feeds, and for letters beyond ASCII, in the token and the headers of the sink.'],
  [/not the receiver’s|redirects/, 'Correct the URL of the sink.'],
  [/ENOSPC|EDQUOT/, 'Free space on its disk.'],
  [/EACCES|EPERM|EROFS/, 'Make it writable for this user.'],
  [
    /no answer|acknowledge|in time/,
    'Look whether the receiver is overloaded, or a firewall or proxy stands in between.',
  ],
  [
    /^throttled|^429\b|^5\d\d |HTTP 5\d\d/,
    'The receiver is busy or has a fault of its own: look at its load and its log.',
  ],
  [/^http_4/, 'Look whether the URL, the format and the form of the requests are what the receiver takes.'],
];
