import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { withoutHostPaths } from './host-paths.ts';

describe('a sentence for an origin', () => {
  test.for([
    ['no room in /var/lib/orilla/run/photos-x7', 'no room in <path>'],
    [
      "ENOENT: no such file or directory, open '/srv/a/b.cpio'",
      "ENOENT: no such file or directory, open '<path>'",
    ],
    [
      'QEMU: qemu-system-x86_64: -kernel /proc/self/fd/4: denied',
      'QEMU: qemu-system-x86_64: -kernel <path>: denied',
    ],
    ['error:/run/a and path=/run/b (/run/c)', 'error:<path> and path=<path> (<path>)'],
    ['//run/a', '<path>'],
    ...[
      'http://192.0.2.7:9000/images/photos answered 404',
      'http://[2001:db8::1]/images and https://images.example/a/b',
      'file:///photos is 12 MiB; 198.18.0.0/16; and/or; 3 / 4',
      'the guest did not answer within 60 s',
    ].map((text) => [text, text]),
  ] as const)('has no path of the gateway in it: %s', ([text, shown]) => {
    expect(withoutHostPaths({ vm: { reason: text }, error: { message: text } })).toEqual({
      vm: { reason: shown },
      error: { message: shown },
    });
  });

  test('has none wherever in an answer it stands, and whatever is around it; what is no sentence stays', () => {
    const path = '/var/lib/orilla';
    const around = fc.constantFrom('', ' ', "'", '"', ': ', ':', '=', '(', ', ', 'open ');
    fc.assert(
      fc.property(around, around, (before, after) => {
        const sentence = `failed${before || ' '}${path}${after}`;
        const answer = { list: [{ next: { reason: sentence, imageRef: path } }], n: 1, none: null };
        expect(withoutHostPaths(answer)).toEqual({
          list: [{ next: { reason: expect.not.stringContaining(path), imageRef: path } }],
          n: 1,
          none: null,
        });
      }),
    );
  });
});
