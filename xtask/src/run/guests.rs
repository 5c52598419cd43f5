//! Tiny guests, made from bytes: the reference of each arch that `bench boot` compares with,
//! and the one by which `--accel auto` proves that KVM carries a real kernel.
//!
//! Those for x64 are PVH ELF files: QEMU's `-kernel` enters them in 32-bit protected mode with flat
//! segments and paging off (Xen, "x86/HVM direct boot ABI").

use crate::model::Arch;

/// Where the x64 guests are loaded: the first megabyte is the PC's legacy area.
const BASE: u32 = 0x10_0000;

/// What the KVM probe writes to the end channel when everything worked.
pub const PROBE_OK: &[u8] = b"osier-kvm 1 ok\n";

/// The reference guest: its first instructions write one byte to the serial port, then it
/// ends the machine. No guest can be earlier with its first byte.
#[rustfmt::skip]
const REFERENCE: &[u8] = &[
    0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8    COM1's transmit register
    0xb0, 0x0a,             // mov al, '\n'
    0xee,                   // out dx, al
    0x66, 0xba, 0x01, 0x05, // mov dx, 0x501    isa-debug-exit
    0xee,                   // out dx, al
    0xf4,                   // hlt
    0xeb, 0xfd,             // jmp back to the hlt
];

/// The KVM probe: long mode, ring 3, `LDMXCSR`, `SYSCALL` and `SYSRET`, one tick of the
/// LAPIC timer taken in ring 3, a second `SYSCALL`, then [`PROBE_OK`] to port 0x500.
///
/// Assembled with GNU as; each line is one line of its source. Memory beside the code:
/// PML4 0x101000, PDPT 0x102000, page directories 0x103000 (low 2 MiB, for all) and 0x104000
/// (the LAPIC's 2 MiB, uncached), IDT 0x105000, tick flag 0x106000, user stack below
/// 0x107000, kernel stack below 0x108000.
#[rustfmt::skip]
const PROBE: &[u8] = &[
    // start:
    0xbc, 0x00, 0x80, 0x10, 0x00,                                  // mov esp, KSTACK
    0xc7, 0x05, 0x00, 0x10, 0x10, 0x00, 0x07, 0x20, 0x10, 0x00,    // mov dword ptr [PML4], PDPT + 7
    0xc7, 0x05, 0x00, 0x20, 0x10, 0x00, 0x07, 0x30, 0x10, 0x00,    // mov dword ptr [PDPT], PD_LOW + 7
    0xc7, 0x05, 0x18, 0x20, 0x10, 0x00, 0x07, 0x40, 0x10, 0x00,    // mov dword ptr [PDPT + 3*8], PD_HIGH + 7
    0xc7, 0x05, 0x00, 0x30, 0x10, 0x00, 0x87, 0x00, 0x00, 0x00,    // mov dword ptr [PD_LOW], 0x87
    0xc7, 0x05, 0xb8, 0x4f, 0x10, 0x00, 0x93, 0x00, 0xe0, 0xfe,    // mov dword ptr [PD_HIGH + 503*8], 0xfee00093
    0xb8, 0x00, 0x10, 0x10, 0x00,                                  // mov eax, PML4
    0x0f, 0x22, 0xd8,                                              // mov cr3, eax
    0xb8, 0x20, 0x06, 0x00, 0x00,                                  // mov eax, 0x620
    0x0f, 0x22, 0xe0,                                              // mov cr4, eax
    0xb9, 0x80, 0x00, 0x00, 0xc0,                                  // mov ecx, 0xc0000080
    0xb8, 0x01, 0x01, 0x00, 0x00,                                  // mov eax, 0x101
    0x31, 0xd2,                                                    // xor edx, edx
    0x0f, 0x30,                                                    // wrmsr
    0xb8, 0x33, 0x00, 0x00, 0x80,                                  // mov eax, 0x80000033
    0x0f, 0x22, 0xc0,                                              // mov cr0, eax
    0x0f, 0x01, 0x15, 0xb8, 0x01, 0x10, 0x00,                      // lgdt [gdt_pointer]
    0xea, 0x6b, 0x00, 0x10, 0x00, 0x08, 0x00,                      // ljmp 0x08, offset long_mode
    // long_mode:
    0xb8, 0x10, 0x00, 0x00, 0x00,                                  // mov eax, 0x10
    0x8e, 0xd8,                                                    // mov ds, eax
    0x8e, 0xc0,                                                    // mov es, eax
    0x8e, 0xd0,                                                    // mov ss, eax
    0xb8, 0x28, 0x00, 0x00, 0x00,                                  // mov eax, 0x28
    0x0f, 0x00, 0xd8,                                              // ltr ax
    0xbf, 0x00, 0x52, 0x10, 0x00,                                  // mov edi, IDT + 32*16
    0xb8, 0x51, 0x01, 0x10, 0x00,                                  // mov eax, offset timer
    0x66, 0x89, 0x07,                                              // mov word ptr [rdi], ax
    0x66, 0xc7, 0x47, 0x02, 0x08, 0x00,                            // mov word ptr [rdi + 2], 0x08
    0x66, 0xc7, 0x47, 0x04, 0x00, 0x8e,                            // mov word ptr [rdi + 4], 0x8e00
    0xc1, 0xe8, 0x10,                                              // shr eax, 16
    0x66, 0x89, 0x47, 0x06,                                        // mov word ptr [rdi + 6], ax
    0x0f, 0x01, 0x1c, 0x25, 0xbe, 0x01, 0x10, 0x00,                // lidt [idt_pointer]
    0xb9, 0x81, 0x00, 0x00, 0xc0,                                  // mov ecx, 0xc0000081
    0x31, 0xc0,                                                    // xor eax, eax
    0xba, 0x08, 0x00, 0x10, 0x00,                                  // mov edx, 0x00100008
    0x0f, 0x30,                                                    // wrmsr
    0xff, 0xc1,                                                    // inc ecx
    0xb8, 0x2f, 0x01, 0x10, 0x00,                                  // mov eax, offset system_call
    0x31, 0xd2,                                                    // xor edx, edx
    0x0f, 0x30,                                                    // wrmsr
    0x83, 0xc1, 0x02,                                              // add ecx, 2
    0xb8, 0x00, 0x02, 0x00, 0x00,                                  // mov eax, 0x200
    0x0f, 0x30,                                                    // wrmsr
    0xbf, 0x00, 0x00, 0xe0, 0xfe,                                  // mov edi, 0xfee00000
    0xc7, 0x87, 0xf0, 0x00, 0x00, 0x00, 0xff, 0x01, 0x00, 0x00,    // mov dword ptr [rdi + 0xf0], 0x1ff
    0xc7, 0x87, 0xe0, 0x03, 0x00, 0x00, 0x0b, 0x00, 0x00, 0x00,    // mov dword ptr [rdi + 0x3e0], 0xb
    0xc7, 0x87, 0x20, 0x03, 0x00, 0x00, 0x20, 0x00, 0x00, 0x00,    // mov dword ptr [rdi + 0x320], 32
    0xc7, 0x87, 0x80, 0x03, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00,    // mov dword ptr [rdi + 0x380], 0x10000
    0x6a, 0x1b,                                                    // push 0x1b
    0x68, 0x00, 0x70, 0x10, 0x00,                                  // push USTACK
    0x68, 0x02, 0x02, 0x00, 0x00,                                  // push 0x202
    0x6a, 0x23,                                                    // push 0x23
    0xb8, 0x0c, 0x01, 0x10, 0x00,                                  // mov eax, offset user
    0x50,                                                          // push rax
    0x48, 0xcf,                                                    // iretq
    // user:
    0x68, 0x80, 0x1f, 0x00, 0x00,                                  // push 0x1f80
    0x0f, 0xae, 0x14, 0x24,                                        // ldmxcsr [rsp]
    0xb8, 0x05, 0x00, 0x00, 0x00,                                  // mov eax, 0x05
    0x0f, 0x05,                                                    // syscall
    // wait_tick:
    0xf3, 0x90,                                                    // pause
    0x80, 0x3c, 0x25, 0x00, 0x60, 0x10, 0x00, 0x00,                // cmp byte ptr [TICK], 0
    0x74, 0xf4,                                                    // je wait_tick
    0xb8, 0x06, 0x00, 0x00, 0x00,                                  // mov eax, 0x06
    0x0f, 0x05,                                                    // syscall
    // system_call:
    0x83, 0xf8, 0x05,                                              // cmp eax, 0x05
    0x75, 0x03,                                                    // jne tick_seen
    0x48, 0x0f, 0x07,                                              // sysretq
    // tick_seen:
    0xbb, 0x6c, 0x01, 0x10, 0x00,                                  // mov ebx, offset text
    0x66, 0xba, 0x00, 0x05,                                        // mov dx, 0x500
    // write:
    0x8a, 0x03,                                                    // mov al, byte ptr [rbx]
    0xee,                                                          // out dx, al
    0xff, 0xc3,                                                    // inc ebx
    0x3c, 0x0a,                                                    // cmp al, 10
    0x75, 0xf7,                                                    // jne write
    0x66, 0xba, 0x01, 0x05,                                        // mov dx, 0x501
    0xee,                                                          // out dx, al
    // stop:
    0xf4,                                                          // hlt
    0xeb, 0xfd,                                                    // jmp stop
    // timer:
    0xc6, 0x04, 0x25, 0x00, 0x60, 0x10, 0x00, 0x01,                // mov byte ptr [TICK], 1
    0x57,                                                          // push rdi
    0xbf, 0x00, 0x00, 0xe0, 0xfe,                                  // mov edi, 0xfee00000
    0xc7, 0x87, 0xb0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,    // mov dword ptr [rdi + 0xb0], 0
    0x5f,                                                          // pop rdi
    0x48, 0xcf,                                                    // iretq
    // text:
    0x6f, 0x73, 0x69, 0x65, 0x72, 0x2d, 0x6b, 0x76, 0x6d, 0x20, 0x31, 0x20, // .ascii "osier-kvm 1 ok\n"
    0x6f, 0x6b, 0x0a,
    0x0f, 0x1f, 0x44, 0x00, 0x00,                                  // .balign 8
    // gdt:
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,                // .quad 0
    0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xaf, 0x00,                // .quad 0x00af9b000000ffff
    0xff, 0xff, 0x00, 0x00, 0x00, 0x93, 0xcf, 0x00,                // .quad 0x00cf93000000ffff
    0xff, 0xff, 0x00, 0x00, 0x00, 0xf3, 0xcf, 0x00,                // .quad 0x00cff3000000ffff
    0xff, 0xff, 0x00, 0x00, 0x00, 0xfb, 0xaf, 0x00,                // .quad 0x00affb000000ffff
    0x67, 0x00, 0xc8, 0x01, 0x10, 0x89, 0x00, 0x00,                // .quad 0x0000890000000067 + 456 * 0x10000 + (0x10) * 0x100000000
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,                // .quad 0
    // gdt_pointer:
    0x37, 0x00,                                                    // .word 55
    0x80, 0x01, 0x10, 0x00,                                        // .long 0x100000 + gdt - start
    // idt_pointer:
    0x0f, 0x02,                                                    // .word 0x20f
    0x00, 0x50, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00,                // .quad IDT
    // tss:
    0x00, 0x00, 0x00, 0x00,                                        // .long 0
    0x00, 0x80, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00,                // .quad KSTACK
];

/// The reference guest of aarch64, a whole `Image`: the same for the PL011 of QEMU's `virt`
/// (hw/arm/virt.c: VIRT_UART at 0x09000000) and PSCI `SYSTEM_OFF` (0x84000008).
#[rustfmt::skip]
const REFERENCE_AARCH64: &[u8] = &[
    0x10, 0x00, 0x00, 0x14, 0, 0, 0, 0,             // b code; unused
    0x00, 0x00, 0x08, 0x00, 0, 0, 0, 0,             // text_offset 0x80000
    0x00, 0x10, 0x00, 0x00, 0, 0, 0, 0,             // image_size 0x1000
    0x0a, 0, 0, 0, 0, 0, 0, 0,                      // flags: 4 KiB pages, placed anywhere
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // reserved
    0, 0, 0, 0, 0, 0, 0, 0,                         // reserved
    0x41, 0x52, 0x4d, 0x64, 0, 0, 0, 0,             // magic "ARM\x64"; reserved
    // code:
    0x00, 0x20, 0xa1, 0xd2,                         // movz x0, #0x0900, lsl #16
    0x41, 0x01, 0x80, 0x52,                         // mov w1, #10
    0x01, 0x00, 0x00, 0xb9,                         // str w1, [x0]
    0x00, 0x80, 0xb0, 0x52,                         // movz w0, #0x8400, lsl #16
    0x00, 0x01, 0x80, 0x72,                         // movk w0, #8
    0x02, 0x00, 0x00, 0xd4,                         // hvc #0
    0x7f, 0x20, 0x03, 0xd5,                         // wfi
    0xff, 0xff, 0xff, 0x17,                         // b back to the wfi
];

/// The reference guest of `bench boot`.
#[must_use]
pub fn reference(arch: Arch) -> Vec<u8> {
    match arch {
        Arch::X64 => pvh_elf(REFERENCE, 0x1000),
        Arch::Aarch64 => REFERENCE_AARCH64.to_vec(),
    }
}

/// The guest that proves KVM.
#[must_use]
pub fn kvm_probe() -> Vec<u8> {
    pvh_elf(PROBE, 0x8000)
}

/// A 64-bit ELF file with one RWX segment at [`BASE`] that holds `code` followed by zeros up
/// to `memory` bytes, and the note that makes its first byte the PVH entry.
fn pvh_elf(code: &[u8], memory: u64) -> Vec<u8> {
    const EHDR: u64 = 64;
    const PHDR: u64 = 56;
    const NOTE: u64 = EHDR + 2 * PHDR;
    /// Header of 12 bytes, "Xen\0", an 8-byte descriptor.
    const NOTE_LEN: u64 = 24;
    const CODE: u64 = NOTE + NOTE_LEN;
    let mut elf = Vec::with_capacity(1024);
    let mut put = |bytes: &[u8]| elf.extend_from_slice(bytes);
    let base = u64::from(BASE);
    // ELF header: 64-bit, little-endian, version 1, ET_EXEC, EM_X86_64.
    put(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0");
    for word in [base, EHDR, 0] {
        put(&word.to_le_bytes());
    }
    // e_flags, e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx.
    put(b"\0\0\0\0\x40\0\x38\0\x02\0\0\0\0\0\0\0");
    let mut segment = |kind: u32, flags: u32, words: [u64; 6]| {
        put(&kind.to_le_bytes());
        put(&flags.to_le_bytes());
        for word in words {
            put(&word.to_le_bytes());
        }
    };
    // PT_LOAD, RWX; PT_NOTE, R. Words: offset, vaddr, paddr, filesz, memsz, align.
    segment(1, 7, [CODE, base, base, code.len() as u64, memory, 1]);
    segment(4, 4, [NOTE, 0, 0, NOTE_LEN, NOTE_LEN, 4]);
    // n_namesz 4, n_descsz 8, n_type 18 (XEN_ELFNOTE_PHYS32_ENTRY), name, descriptor.
    put(b"\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen\0");
    put(&base.to_le_bytes());
    put(code);
    elf
}

#[cfg(test)]
mod tests {
    use super::*;
    use goblin::elf::{Elf, program_header};

    #[test]
    fn the_guests_are_pvh_elf_files() {
        for guest in [reference(Arch::X64), kvm_probe()] {
            let elf = Elf::parse(&guest).unwrap();
            assert_eq!(elf.header.e_machine, goblin::elf::header::EM_X86_64);
            assert_eq!(elf.entry, u64::from(BASE));
            let load = &elf.program_headers[0];
            assert_eq!(load.p_type, program_header::PT_LOAD);
            assert_eq!(load.p_offset + load.p_filesz, guest.len() as u64);
            let notes: Vec<_> =
                elf.iter_note_headers(&guest).unwrap().collect::<Result<_, _>>().unwrap();
            assert_eq!(notes.len(), 1);
            assert_eq!((notes[0].name, notes[0].n_type), ("Xen", 18));
            assert_eq!(notes[0].desc, u64::from(BASE).to_le_bytes());
        }
    }

    #[test]
    fn the_references_are_at_most_4_kib() {
        for arch in Arch::ALL {
            assert!(reference(arch).len() <= 4096, "{}", reference(arch).len());
        }
        let image = reference(Arch::Aarch64);
        assert_eq!(crate::run::image::physical_end(Arch::Aarch64, &image), Ok(0x4008_1000));
    }

    #[test]
    fn the_probe_says_what_is_looked_for() {
        assert!(PROBE.windows(PROBE_OK.len()).any(|w| w == PROBE_OK));
    }
}
