"""Weights that others have published: recognised by their keys, read safely, converted in memory.

    kinds       the kinds that are known: whose they are, where to get them, how they are used
    reading     a checkpoint file to tensors by name, without running its code; which kind it is
    layout      tensors by published names: checked, batch norm folded
    stm         the STM family, which becomes `vostool.model.stm.Stm`
    blocks      what STCN and XMem share
    stcn, xmem  their networks

The facts are the layouts of the files; all code is vostool's own.
"""
