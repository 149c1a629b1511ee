"""Weights that others have published: recognised by their keys, read safely, converted in memory.

    kinds       the kinds that are known: whose they are, where to get them, how they are used
    reading     a checkpoint file to tensors by name, without running its code; which kind it is
    layout      tensors by published names: checked, batch norm folded
    stm         the STM family, which becomes `vostool.model.stm.Stm`
    shared_keys what STCN and XMem have in common, made of the modules in `blocks`
    stcn        the network of STCN
    xmem        that of XMem, with its memories: `sensory` and `long_term`

The facts are the layouts of the files; all code is vostool's own.
"""
